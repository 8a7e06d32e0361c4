import { missingChanges } from '../manifest/doubts.js'
import { defineCommand } from './command.js'
import { EXIT_CODES } from './exit-codes.js'
import { listTable } from './list-table.js'
import { openRepositoryOf } from './repository-of.js'

export const listCommand = defineCommand({
  name: 'list',
  summary: 'list the manifests, by volume, oldest first',
  notes: [
    'STORED is what a backup added of chunks, as on the volume; with --json every manifest is a line ' +
      'of type manifest with all its fields. --quiet prints the ids alone.',
  ],
  operands: {
    volume: { label: 'VOLUME', optional: true, help: 'only this volume; by default all' },
  },
  options: {},
  examples: [
    { line: 'mover list vm-42/sda', says: 'the states of one volume' },
    { line: 'mover list vm-42/sda --quiet | tail -1', says: 'the id of the newest, for a script' },
  ],
  whenCancelled: 'nothing was changed',

  async run(context) {
    const { operands, report, signal } = context
    await using repository = await openRepositoryOf(context)
    const { manifests, damaged } = await repository.listing(operands.volume, { signal })
    for (const manifest of manifests) await report.row({ type: 'manifest', ...manifest }, null)
    for (const warning of await missingChanges(repository, manifests, { signal })) {
      await report.event(warning)
    }
    for (const { name, error } of damaged) {
      const message = `${name} cannot be read: ${error.message}; mover verify says more`
      await report.event({ type: 'warning', code: error.code, message })
    }
    await report.result(
      { operation: 'list', manifests: manifests.length },
      {
        // Made only for who is to read it.
        get summary() {
          return listTable(manifests)
        },
        bare: manifests.map(({ id }) => id),
      },
    )
    return EXIT_CODES.done
  },
})
