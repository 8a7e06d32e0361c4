import { execFileSync } from 'node:child_process'
import { rmSync } from 'node:fs'
import { join } from 'node:path'
import type { Bench, Part } from './harness/bench.js'
import { ratioOf, runRounds } from './harness/rounds.js'
import { backupInto } from './mover-commands.js'
import { copyByNbdcopy, readByNbdcopy, serveImage } from './peers/nbd-server.js'
import { mixedVolume } from './volumes/mixed-volume.js'

/** A full backup over NBD, against what nbdcopy moves from the same server. */
export const nbdPart: Part = {
  name: 'nbd',
  about: 'full backups of raw and qcow2 over NBD, against nbdcopy from the same qemu-nbd',
  run,
}

async function run(bench: Bench): Promise<void> {
  const raw = mixedVolume(bench.scratch)
  await fullOf(bench, raw, 'raw')
  const qcow2 = join(bench.scratch, 'mixed.qcow2')
  execFileSync('qemu-img', ['convert', '-f', 'raw', '-O', 'qcow2', raw, qcow2])
  await fullOf(bench, qcow2, 'qcow2')
  rmSync(qcow2)
}

/** A copy to a file writes as a backup does, one to nowhere only reads. */
async function fullOf(bench: Bench, image: string, format: 'raw' | 'qcow2'): Promise<void> {
  const repository = join(bench.scratch, 'repository-nbd')
  const copy = join(bench.scratch, 'copy.img')
  await using server = await serveImage(image, { format, socket: join(bench.scratch, 'nbd') })
  const rounds = await runRounds(
    {
      mover: backupInto(repository, server.uri),
      'nbdcopy, file': {
        command: copyByNbdcopy(server.uri, copy),
        prepare: () => rmSync(copy, { force: true }),
      },
      'nbdcopy, null': {
        command: readByNbdcopy(server.uri),
        prepare: () => rmSync(copy, { force: true }),
      },
    },
    { count: bench.rounds, say: bench.say },
  )
  rmSync(repository, { recursive: true, force: true })
  const common = { unit: 'x', timed: rounds.timed, notes: [image] }
  bench.report({
    ...common,
    what: `full backup over NBD, ${format}: time against a flushed nbdcopy`,
    value: ratioOf(rounds, r => r.mover / r['nbdcopy, file']),
    bound: { most: 1.15 },
  })
  bench.report({
    ...common,
    what: `full backup over NBD, ${format}: time against nbdcopy that writes nothing`,
    value: ratioOf(rounds, r => r.mover / r['nbdcopy, null']),
    bound: null,
  })
}
