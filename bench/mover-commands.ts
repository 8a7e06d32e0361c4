/** The commands of mover that several parts measure. */
import { rmSync } from 'node:fs'
import { mover } from './harness/bench.js'
import { runCommand } from './harness/command.js'
import type { Contender } from './harness/rounds.js'

/** Name of the volume in every repository of the benchmark. */
export const VOLUME = 'bench'

export function backupCommand(
  repository: string,
  volume: string,
  ...options: string[]
): Contender['command'] {
  const words = ['backup', volume, '--volume', VOLUME, '--repo', repository, '--quiet']
  return mover(...words, ...options)
}

export async function initRepository(repository: string, ...options: string[]): Promise<void> {
  rmSync(repository, { recursive: true, force: true })
  await runCommand(mover('init', repository, ...options))
}

/** A backup into a repository that is made anew before each turn. */
export function backupInto(
  repository: string,
  volume: string,
  { init = [], backup = [] }: { readonly init?: string[]; readonly backup?: string[] } = {},
): Contender {
  return {
    command: backupCommand(repository, volume, ...backup),
    prepare: () => initRepository(repository, ...init),
  }
}

/** A full restore to a fresh file, compared with the volume after each turn. */
export function restoreTo(repository: string, target: string, ...options: string[]): Contender {
  return {
    command: mover(
      'restore',
      `${VOLUME}@latest`,
      target,
      '--repo',
      repository,
      '--quiet',
      ...options,
    ),
    prepare: () => rmSync(target, { force: true }),
  }
}

/** Throws when two files differ in a byte. */
export async function compareFiles(one: string, other: string): Promise<void> {
  await runCommand({ argv: ['cmp', one, other] })
}
