import type { Command } from '../harness/command.js'

/** A flushed plain copy of the volume, by the two fastest programs for it. */
export function plainCopies(
  volume: string,
  copy: string,
): { readonly qemuImg: Command; readonly nbdcopy: Command } {
  const qemuImg = ['qemu-img', 'convert', '-f', 'raw', '-O', 'raw', '-t', 'none', '-T', 'none']
  const nbdkit = ['nbdkit', '--exit-with-parent', '-r', 'file', volume]
  return {
    qemuImg: { argv: [...qemuImg, '-W', '-m', '16', volume, copy] },
    nbdcopy: { argv: ['nbdcopy', '--flush', '--', '[', ...nbdkit, ']', copy] },
  }
}
