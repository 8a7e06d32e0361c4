import { execFileSync } from 'node:child_process'
import { readdirSync } from 'node:fs'
import { join } from 'node:path'
import t from 'tap'
import { isSameDisk, wrongBytes } from '../../bench/peers/compare-images.js'

t.test('what differs between two images is counted, where and whatever it is', async t => {
  const folder = t.testdir()
  const image = (name: string, ...writes: readonly string[]) => {
    const path = join(folder, name)
    execFileSync('qemu-img', ['create', '-q', '-f', 'qcow2', path, '8M'])
    const words = ['write -P 1 1M 1M', ...writes].flatMap(write => ['-c', write])
    execFileSync('qemu-io', ['-f', 'qcow2', ...words, path], { stdio: 'ignore' })
    return path
  }
  const guest = image('guest', 'write -z 1M 128k', 'write -P 2 4M 1k')
  const same = image('same', 'write -P 0 1M 128k', 'write -P 2 4M 1k')
  // It has the old bytes where there are zeroes by now.
  const old = image('old', 'write -P 2 4M 1k')
  t.ok(isSameDisk(guest, same))
  t.notOk(isSameDisk(guest, old))
  t.equal(wrongBytes(same, guest, folder), 0)
  t.equal(wrongBytes(old, guest, folder), 131_072)
  t.equal(wrongBytes(image('none', 'write -z 4M 64k'), guest, folder), 131_072 + 65_536)
  t.strictSame(readdirSync(folder).sort(), ['guest', 'none', 'old', 'same'])
})

t.test('an image that cannot be compared is an error', async t => {
  t.throws(() => isSameDisk(join(t.testdir(), 'nowhere'), 'nowhere'), /qemu-img compare/)
})
