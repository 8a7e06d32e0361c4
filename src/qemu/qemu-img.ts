import type { MoverErrorCode } from '../core/errors.js'
import { programFailed, startQemuProgram } from './qemu-program.js'

/** Makes an image of an empty disk over the file at `path`. Throws an error of `code`. */
export async function createQcow2(
  path: string,
  { volumeBytes, code }: { readonly volumeBytes: number; readonly code: MoverErrorCode },
): Promise<void> {
  const args = ['create', '-q', '-f', 'qcow2', '--', path, `${volumeBytes}`]
  const program = await startQemuProgram('qemu-img', args, code)
  const exit = await program.ended
  if (exit !== 0) throw programFailed('qemu-img', { exit, said: program.said(), code })
}

/** Throws an error of `code` where there is no qemu-img, with which Debian's qemu-utils brings qemu-nbd. */
export async function requireQemuImg(code: MoverErrorCode): Promise<void> {
  const program = await startQemuProgram('qemu-img', ['--version'], code)
  const exit = await program.ended
  if (exit !== 0) throw programFailed('qemu-img', { exit, said: program.said(), code })
}
