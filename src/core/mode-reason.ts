/** Why a backup's mode is not the requested one, in half a sentence; a reason of a tracker as it is. */
export function modeReasonWords(reason: string): string {
  return WORDS.get(reason) ?? reason
}

// No object: a tracker may call its reason 'constructor'.
const WORDS = new Map([
  ['no-parent', 'the volume had no backup yet'],
  ['chunk-size', "the parent's chunks have another size"],
  ['resized', 'the volume was resized, and trackers lie about that'],
  ['lineage', 'no usable backup stands for the checkpoint from which the change map counts'],
  ['damaged', 'chunks of the parent are lost, as mover verify tells'],
  [
    'no-bitmap',
    'the machine has no bitmap that counts from a backup: it was restarted, or this is new',
  ],
  ['bitmap-inconsistent', 'the machine was not shut down cleanly, and its bitmap is void'],
  [
    'bitmap-disabled',
    'somebody disabled the bitmap, and what was written since is recorded nowhere',
  ],
])
