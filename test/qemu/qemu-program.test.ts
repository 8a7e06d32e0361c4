import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import t, { type Test } from 'tap'
import { programFailed, startQemuProgram } from '../../src/qemu/qemu-program.js'
import { processesWith } from '../support/processes.js'
import { projectFolder } from '../support/project-folder.js'

const MODULE = join(projectFolder, 'build', 'src', 'qemu', 'qemu-program.js')

/** A process, leader of a group, that starts `sleep SECONDS` as a program, and does not mind SIGINT. */
async function starter(t: Test, seconds: string) {
  const script = `
    const { startQemuProgram } = await import(${JSON.stringify(MODULE)})
    process.on('SIGINT', () => {})
    await startQemuProgram('sleep', ['${seconds}'], 'SOURCE_UNUSABLE')
    console.log('started')`
  const args = ['--input-type=module', '--eval', script]
  const child = spawn(process.execPath, args, {
    detached: true,
    stdio: ['ignore', 'pipe', 'inherit'],
  })
  t.teardown(() => void child.kill('SIGKILL'))
  await once(child.stdout, 'data')
  await waitFor(() => programs(seconds).length === 1)
  return child
}

/** Of the command lines with the number, that of the program alone. */
function programs(seconds: string): number[] {
  return processesWith(`sleep\0${seconds}\0`)
}

async function waitFor(isSo: () => boolean): Promise<void> {
  for (let tries = 0; tries < 500 && !isSo(); tries += 1) await sleep(10)
}

t.test('a program outlives an interrupt of our group, and not us', async t => {
  const seconds = `${100_000 + process.pid}`
  const child = await starter(t, seconds)
  const [program = 0] = programs(seconds)
  if (child.pid !== undefined) process.kill(-child.pid, 'SIGINT')
  await sleep(200)
  t.strictSame(programs(seconds), [program])
  child.kill('SIGKILL')
  await waitFor(() => programs(seconds).length === 0)
  t.strictSame(programs(seconds), [])
})

t.test('what a program says, and how it ends', async t => {
  const program = await startQemuProgram(
    'sh',
    ['-c', 'echo one >&2; echo two >&2; exit 3'],
    'SOURCE_UNUSABLE',
  )
  const exit = await program.ended
  t.equal(exit, 3)
  const error = programFailed('x', { exit, said: program.said(), code: 'SOURCE_UNUSABLE' })
  t.match(error, { code: 'SOURCE_UNUSABLE', message: 'x failed: one two', retryable: false })

  const missing = await startQemuProgram('no-such-program', [], 'TARGET_UNUSABLE')
  const failed = {
    exit: await missing.ended,
    said: missing.said(),
    code: 'TARGET_UNUSABLE',
  } as const
  t.match(programFailed('no-such-program', failed), {
    message: 'no-such-program is not installed',
    remedy: /qemu-utils/,
  })
  const said = 'Failed to get shared "write" lock'
  t.match(programFailed('x', { exit: 1, said, code: 'SOURCE_UNUSABLE' }), {
    retryable: true,
    remedy: /end the program/,
  })
})

t.test('a program that talks without end is not kept in memory', async t => {
  const program = await startQemuProgram(
    'sh',
    ['-c', 'head -c 1000000 /dev/zero | tr "\\\\0" x >&2'],
    'SOURCE_UNUSABLE',
  )
  await program.ended
  t.ok(program.said().length <= 4096)
})
