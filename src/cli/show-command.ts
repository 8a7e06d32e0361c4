import type { Manifest } from '../core/manifest.js'
import { missingChanges } from '../manifest/doubts.js'
import type { Repository } from '../repository.js'
import { defineCommand, type Context } from './command.js'
import { EXIT_CODES } from './exit-codes.js'
import { manifestFields } from './manifest-fields.js'
import { MANIFEST_OPERAND } from './manifest-operand.js'
import { MapDrawing } from './map-drawing.js'
import { openRepositoryOf } from './repository-of.js'

const COLUMNS_DEFAULT = 80

export const showCommand = defineCommand({
  name: 'show',
  summary: 'show all of a manifest, or draw it',
  notes: [
    '--map draws where data, zeroes and changes lie, each cell a run of chunks, in the width of the ' +
      'terminal; with --json it prints every extent as a line of type extent instead.',
  ],
  operands: { manifest: MANIFEST_OPERAND },
  options: { map: { help: 'draw where data, zeroes and what changed since the parent lie' } },
  examples: [
    { line: 'mover show vm-42/sda@latest', says: 'every field' },
    { line: 'mover show vm-42/sda@latest --map', says: 'and a picture' },
  ],
  whenCancelled: 'nothing was changed',

  async run(context) {
    const { options, operands, report, signal } = context
    await using repository = await openRepositoryOf(context)
    const manifest = await repository.resolve(operands.manifest, null, { signal })
    for (const warning of await missingChanges(repository, [manifest], { signal })) {
      await report.event(warning)
    }
    const drawing = options.map ? await drawMap(manifest, { repository, context }) : []
    await report.result(
      { operation: 'show', ...manifest },
      { summary: [...manifestFields(manifest), ...drawing], bare: [manifest.id] },
    )
    return EXIT_CODES.done
  },
})

async function drawMap(
  manifest: Manifest,
  parts: {
    readonly repository: Repository
    readonly context: Pick<Context, 'io' | 'report' | 'signal'>
  },
): Promise<readonly string[]> {
  const { io, report, signal } = parts.context
  const { mapManifest } = await import('../map-manifest.js')
  const drawing = new MapDrawing(manifest, { columns: io.stdout.columns ?? COLUMNS_DEFAULT })
  const extents = mapManifest({ repository: parts.repository, manifest: manifest.id, signal })
  for await (const extent of extents) {
    drawing.add(extent)
    await report.row({ type: 'extent', ...extent }, null)
  }
  return ['', ...drawing.lines({ isUnicode: isUnicode(io.environment) })]
}

/** Whether the locale's characters are UTF-8; as in setlocale(3), the first variable set decides. */
function isUnicode(environment: Readonly<Record<string, string | undefined>>): boolean {
  const { LC_ALL, LC_CTYPE, LANG } = environment
  return /utf-?8/i.test(LC_ALL || LC_CTYPE || LANG || '')
}
