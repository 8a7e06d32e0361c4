import { execFileSync } from 'node:child_process'
import { existsSync } from 'node:fs'
import { join } from 'node:path'
import { projectFolder } from './project-folder.js'

/** Programs of QEMU 10, which lies beside the machine's own. */
export interface Qemu10 {
  readonly storageDaemon: string
  readonly system: string
  /** Arguments of `system` that say where its firmware is. */
  readonly firmware: readonly string[]
}

/** Unpacks it where that was not done yet; throws where there is none to be had. */
export function qemu10(): Qemu10 {
  const folder = join(projectFolder, '.cache', 'qemu-10', 'usr')
  if (!existsSync(folder)) {
    const script = join(projectFolder, 'scripts', 'qemu-10.sh')
    execFileSync('bash', [script], { stdio: ['ignore', 'ignore', 'inherit'] })
  }
  return {
    storageDaemon: join(folder, 'bin', 'qemu-storage-daemon'),
    system: join(folder, 'bin', 'qemu-system-x86_64'),
    firmware: ['-L', join(folder, 'share', 'qemu'), '-L', '/usr/share/seabios'],
  }
}
