/**
 * Checkpoints that mover made. libvirt's checkpoint spans disks, a lineage is of one: the description of
 * a checkpoint names the lineage of each disk that has a bitmap in it, for people and for the next run.
 */
import { randomBytes } from 'node:crypto'
import type { DiskHistory } from '../point-in-time.js'
import { checkpointFacts } from './backup-xml.js'
import { deleteCheckpoint } from './frozen-domain.js'
import type { Domain } from './domain.js'

/** A checkpoint that some mover made. */
export interface OwnCheckpoint {
  readonly name: string
  /** By the disk's target. */
  readonly lineages: ReadonlyMap<string, string>
}

/** The disk and its volume, as far as checkpoints know them. */
export type DiskLineage = Pick<DiskHistory, 'disk' | 'lineage'>

const NAME = /^mover-[0-9a-f]{16}$/
const DESCRIPTION = 'made by mover, which deletes it: '

/** Why a disk is read whole of which libvirt lists a checkpoint; which of these it is, it does not tell. */
export const BROKEN_BITMAP = 'the bitmap is missing or broken, or disabled (not recording)'

/** A name that no other run has. */
export function newCheckpointName(): string {
  return `mover-${randomBytes(8).toString('hex')}`
}

/** What a checkpoint says of itself. */
export function checkpointDescription(disks: readonly DiskLineage[]): string {
  return DESCRIPTION + disks.map(({ disk, lineage }) => `${disk}=${lineage}`).join(' ')
}

/** Checkpoints of mover's, parents before their children; those of others are not looked into. */
export async function ownCheckpoints(domain: Domain): Promise<OwnCheckpoint[]> {
  const own: OwnCheckpoint[] = []
  for (const name of await domain.checkpoints()) {
    if (!NAME.test(name)) continue
    const { description, targets } = checkpointFacts(await domain.checkpointXml(name))
    if (!description.startsWith(DESCRIPTION)) continue
    const pairs = description.slice(DESCRIPTION.length).split(' ')
    const lineages = new Map(pairs.map(pair => pair.split('=', 2) as [string, string]))
    own.push({ name, lineages: new Map([...lineages].filter(([disk]) => targets.includes(disk))) })
  }
  return own
}

/** The newest committed checkpoint of a disk that is still there; null where none is. */
export function newestCheckpoint(
  { disk, lineage, committed }: DiskHistory,
  checkpoints: readonly OwnCheckpoint[],
): string | null {
  const names = new Set(
    checkpoints.filter(one => one.lineages.get(disk) === lineage).map(({ name }) => name),
  )
  return committed.findLast(name => names.has(name)) ?? null
}

/** What is known when it is judged which checkpoints are needed. */
export interface Need {
  readonly checkpoints: readonly OwnCheckpoint[]
  /** Of the disks that are being backed up. */
  readonly histories: readonly DiskHistory[]
  /** Of all disks that the domain has. */
  readonly targets: readonly string[]
}

/**
 * Checkpoints that nothing will count from: those of which each disk has a newer one, or never got a
 * manifest, or is gone. Of disks and lineages that this run does not know nothing is presumed. No job may
 * be under way that has yet to commit one of them.
 */
export function unneededCheckpoints({ checkpoints, histories, targets }: Need): string[] {
  const isUnneeded = ({ name, lineages }: OwnCheckpoint) =>
    [...lineages].every(([disk, lineage]) => {
      if (!targets.includes(disk)) return true
      const history = histories.find(one => one.disk === disk && one.lineage === lineage)
      return history !== undefined && newestCheckpoint(history, checkpoints) !== name
    })
  return checkpoints.filter(isUnneeded).map(({ name }) => name)
}

/** Deletes them; gives why those that are left could not be. They cost some space until the next run. */
export async function deleteCheckpoints(
  domain: Domain,
  names: readonly string[],
): Promise<Error[]> {
  const failures: Error[] = []
  for (const name of names) {
    try {
      await deleteCheckpoint(domain, name)
    } catch (error) {
      if (!(error instanceof Error)) throw error
      failures.push(error)
    }
  }
  return failures
}
