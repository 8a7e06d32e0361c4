import { lostAnswer, type ChangeSource } from './change-source.js'

/** What stands in for a tracker that has lost its way: nothing is known, and the answer says why. */
export function lostChanges(name: string, reason: string): ChangeSource {
  return { name, since: null, changed: async request => lostAnswer(request, reason) }
}
