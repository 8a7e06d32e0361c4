import { spawn } from 'node:child_process'
import { readFileSync } from 'node:fs'
import { shown, type Command } from './command.js'

const LOOK_EVERY_MS = 5

/** Runs a command and gives the peak of its RssAnon + RssShmem in bytes, by looking all the time. */
export async function peakMemory(command: Command): Promise<number> {
  const [program, ...args] = command.argv
  if (program === undefined) throw new Error('no program to run')
  const child = spawn(program, args, { stdio: ['ignore', 'ignore', 'inherit'] })
  let peakBytes = 0
  const timer = setInterval(() => {
    peakBytes = Math.max(peakBytes, memoryOf(child.pid))
  }, LOOK_EVERY_MS)
  const code = await new Promise<number | null>((resolve, reject) => {
    child.on('error', reject)
    child.on('close', resolve)
  })
  clearInterval(timer)
  if (code !== 0) throw new Error(`${shown(command)} ended with ${code}`)
  return peakBytes
}

function memoryOf(pid: number | undefined): number {
  try {
    const status = readFileSync(`/proc/${pid}/status`, 'utf8')
    const kib = (name: string) =>
      Number(new RegExp(`^${name}:\\s+(\\d+)`, 'm').exec(status)?.[1] ?? 0)
    return (kib('RssAnon') + kib('RssShmem')) * 1024
  } catch {
    // It has just ended.
    return 0
  }
}
