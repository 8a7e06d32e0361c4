import { execFileSync } from 'node:child_process'
import { readFileSync, statfsSync } from 'node:fs'
import { availableParallelism, cpus, release, totalmem } from 'node:os'

/** Where the figures come from; without it they mean nothing. */
export interface Machine {
  readonly processor: string
  readonly cores: number
  readonly memoryGiB: number
  readonly kernel: string
  readonly fileSystem: string
  readonly node: string
  readonly commit: string
  readonly day: string
}

/** Looks at this machine, and at the disk that holds `folder`. */
export function describeMachine(folder: string, root: string): Machine {
  return {
    processor: cpus()[0]?.model ?? 'unknown',
    cores: availableParallelism(),
    memoryGiB: Math.round(totalmem() / 2 ** 30),
    kernel: release(),
    fileSystem: fileSystemOf(folder),
    node: process.version,
    commit: commitOf(root),
    day: new Date().toISOString().slice(0, 10),
  }
}

function fileSystemOf(folder: string): string {
  const [, device, kind] = /^(\S+) \S+ (\S+)/.exec(mountLine(folder)) ?? []
  const freeGiB = Math.round(Number(statfsSync(folder).bavail * statfsSync(folder).bsize) / 2 ** 30)
  return `${kind ?? 'unknown'} on ${device ?? 'unknown'}, ${freeGiB} GiB free`
}

function mountLine(folder: string): string {
  const lines = readFileSync('/proc/self/mounts', 'utf8').trim().split('\n')
  const holds = (line: string) => {
    const point = line.split(' ')[1] ?? ''
    return folder === point || folder.startsWith(point === '/' ? '/' : `${point}/`)
  }
  const longest = (a: string, b: string) =>
    (b.split(' ')[1] ?? '').length >= (a.split(' ')[1] ?? '').length ? b : a
  return lines.filter(holds).reduce(longest, '')
}

function commitOf(root: string): string {
  try {
    return execFileSync('git', ['-C', root, 'describe', '--always', '--dirty'], {
      encoding: 'utf8',
      stdio: ['ignore', 'pipe', 'ignore'],
    }).trim()
  } catch {
    // Unpacked from an archive: there is no commit to name.
    return 'unknown'
  }
}
