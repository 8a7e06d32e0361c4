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
  [
    'tracker-lied',
    'the audit caught the tracking since that backup: only what counts from a new checkpoint is believed',
  ],
  ['damaged', 'chunks of the parent are lost, as mover verify tells'],
  [
    'no-bitmap',
    'the machine has no bitmap that counts from a backup: it was restarted, or this disk or overlay is new',
  ],
  ['backing-unknown', 'an image below the image cannot be looked at'],
  ['bitmap-absent', 'the image has no such dirty bitmap'],
  ['bitmap-disabled', 'the dirty bitmap was disabled, and did not record what was written since'],
  [
    'bitmap-elsewhere',
    'another node of the machine has the bitmap, as after an external snapshot: the guest writes to an overlay',
  ],
  ['bitmap-gap', 'an image between others that have the dirty bitmap lacks it'],
  ['bitmap-in-use', 'the dirty bitmap was not saved: its writer runs, or was killed'],
  ['bitmap-inconsistent', 'the machine was not shut down cleanly, and its bitmap is void'],
  ['bitmap-unknown', 'the dirty bitmap is of a kind that is not known'],
  ['bitmaps-dropped', 'the image was written by a program that does not keep dirty bitmaps'],
  ['image-corrupt', 'the image is marked as corrupt'],
  ['image-dirty', 'the image was not closed, and is marked as dirty'],
  ['image-encrypted', 'the image is encrypted, and mover has no key to read it with'],
  ['image-in-use', 'a program has the image open for writing'],
  ['image-unknown', 'the image has features that are not known'],
  ['other-image', 'the dirty bitmap is in another image than the one that is read'],
])
