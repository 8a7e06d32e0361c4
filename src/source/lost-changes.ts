import type { ChangeSource } from './change-source.js'

/** What stands in for a tracker that has lost its way: nothing is known, and the answer says why. */
export function lostChanges(name: string, reason: string): ChangeSource {
  return {
    name,
    since: null,
    changed: async ({ volumeBytes }) => ({
      health: { kind: 'lost', reason },
      granularityBytes: 1,
      extents:
        volumeBytes === 0 ? [] : [{ offset: 0, length: volumeBytes, state: 'unknown' as const }],
    }),
  }
}
