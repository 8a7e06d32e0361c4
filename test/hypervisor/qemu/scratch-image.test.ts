import { execFileSync } from 'node:child_process'
import { truncate, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import t from 'tap'
import { emptyImage, formatScratch } from '../../../src/hypervisor/qemu/scratch-image.js'
import { GiB, MiB, TiB } from '../../support/volumes.js'

const KiB = 1024

t.test('QEMU takes it for an empty image of that size', async t => {
  const dir = t.testdir({})
  const sizes = [512, 64 * KiB, 64 * KiB + 512, 512 * MiB, 512 * MiB + 512, 5 * TiB, 60 * TiB]
  for (const size of sizes) {
    const file = join(dir, String(size))
    await writeFile(file, '')
    await truncate(file, 2 * GiB)
    await formatScratch(file, size)
    const info = JSON.parse(
      execFileSync('qemu-img', ['info', '--output=json', file], { encoding: 'utf8' }),
    ) as object
    t.match(info, { format: 'qcow2', 'virtual-size': size, 'cluster-size': 64 * KiB })
    // Leaks are the room that is reserved; anything else would be 2.
    const last = size - 512
    const io = ['-f', 'qcow2', '-c', `write -P 7 ${last} 512`, '-c', `read -P 7 ${last} 512`]
    t.notMatch(execFileSync('qemu-io', [...io, file], { encoding: 'utf8' }), /fail|error/i)
    execFileSync('qemu-img', ['check', '-q', file])
  }
  t.ok(emptyImage(60 * TiB).length < MiB)
})
