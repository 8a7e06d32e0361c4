import type { SlotRun } from '../core/chunk.js'
import { AUDIT_PERCENT, AUDIT_SLOTS_MAX, AUDIT_SLOTS_MIN } from '../core/limits.js'
import type { SlotSet } from '../core/slot-set.js'
import type { BackupPlan } from './backup-plan.js'
import { sampleRanks } from './sample.js'

/**
 * How many of the slots that were called clean are read all the same: the default (256 and 5 % of
 * the number of slots read, at most 16,384), none, or a percentage of them, above 0 and at most 100.
 */
export type AuditPolicy = 'default' | 'off' | number

interface Drawing {
  readonly policy: AuditPolicy
  /** Uniform in [0, 1), and not to be foreseen by the guest. */
  readonly random: () => number
}

/** Number of clean slots that are read; never more than there are. */
export function auditCount(slots: {
  readonly clean: number
  readonly read: number
  readonly policy: AuditPolicy
}): number {
  const { clean, read, policy } = slots
  if (policy === 'off') return 0
  if (policy === 'default') {
    const wanted = AUDIT_SLOTS_MIN + Math.ceil((read * AUDIT_PERCENT) / 100)
    return Math.min(wanted, AUDIT_SLOTS_MAX, clean)
  }
  return Math.min(Math.max(Math.ceil((clean * policy) / 100), 1), clean)
}

/**
 * Yields the carried slots to read, drawn uniformly and without replacement, in windows of at most
 * 16,384: ascending in a window and from one window to the next. The default fits one window.
 */
export function* auditWindows(
  question: Drawing & { readonly plan: BackupPlan },
): Generator<number[]> {
  const { plan, policy, random } = question
  const population = plan.carriedSlots
  const count = auditCount({ clean: population, read: plan.readSlots.size, policy })
  let window: number[] = []
  for (const slot of slotsAt(sampleRanks({ population, count, random }), carriedRuns(plan))) {
    window.push(slot)
    if (window.length < AUDIT_SLOTS_MAX) continue
    yield window
    window = []
  }
  if (window.length > 0) yield window
}

/** The same sample of the slots that `excluded`, which counts as read, does not hold; ascending. */
export function auditSample(question: Drawing & { readonly excluded: SlotSet }): number[] {
  const { excluded, policy, random } = question
  const population = excluded.slotCount - excluded.size
  const count = auditCount({ clean: population, read: excluded.size, policy })
  return [...slotsAt(sampleRanks({ population, count, random }), absentRuns(excluded))]
}

/** Turns ascending ranks among the slots of ascending `runs` into those slots. */
function* slotsAt(ranks: Generator<number>, runs: Iterable<SlotRun>): Generator<number> {
  let next = ranks.next()
  let passed = 0
  for (const { first, count } of runs) {
    for (; !next.done && next.value < passed + count; next = ranks.next()) {
      yield first + next.value - passed
    }
    if (next.done) return
    passed += count
  }
}

function* carriedRuns(plan: BackupPlan): Generator<SlotRun> {
  for (const run of plan.unreadRuns()) if (run.action === 'carry') yield run
}

function* absentRuns(slots: SlotSet): Generator<SlotRun> {
  let first = slots.nextAbsent(0)
  while (first < slots.slotCount) {
    const end = slots.nextPresent(first)
    yield { first, count: end - first }
    first = slots.nextAbsent(end)
  }
}
