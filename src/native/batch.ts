/**
 * What crosses between the main thread and a worker, and the rows that cross the seam;
 * `native/src/batch.rs` is its other half. What comes back of ingested slots is in `slot-rows.ts`.
 */

/** One blocking native call. `job` is a handle of the addon, good in every thread of the process. */
export type BatchRequest =
  | {
      readonly kind: 'ingest'
      readonly job: number
      /** Pairs of first slot and count, ascending. */
      readonly runs: Float64Array
      /** False only reads and hashes. */
      readonly store: boolean
    }
  | { readonly kind: 'extract'; readonly job: number; readonly rows: Uint8Array }

/** An addon's error crosses as its message, which carries code, offset and path. */
export type BatchReply = { readonly bytes: Uint8Array } | { readonly failure: string }

/** Slot to extract: u64 slot, then digest. */
export const WANTED_ROW_BYTES = 40

/** Planned slot: u64 slot, digest, u32 pack number, u32 offset, u32 stored, u32 plain, u8 codec, padding. */
export const PLANNED_ROW_BYTES = 80

/** Located entry: u8 found, u8 codec, u16, u32 offset, u32 stored, u32 plain, u64 pack bytes, pack id. */
export const LOCATED_ROW_BYTES = 56
