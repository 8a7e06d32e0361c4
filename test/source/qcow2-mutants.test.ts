/**
 * Images from strangers: thousands of images with a few bytes of their header, directory or table
 * changed. Each gives an error or a lost answer, or an answer that calls nothing clean which QEMU, asked
 * about the same image, calls dirty.
 */
import { spawnSync } from 'node:child_process'
import { copyFileSync, existsSync, readFileSync, statSync, truncateSync } from 'node:fs'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import t from 'tap'
import { MoverError } from '../../src/core/errors.js'
import type { StatedExtent } from '../../src/core/extent.js'
import { nbdChanges } from '../../src/source/nbd-changes.js'
import { qcow2Changes } from '../../src/source/qcow2-changes.js'
import { gather } from '../support/gather.js'
import { socketPath } from '../support/nbd-servers.js'
import { addBitmap, createImage, guest, peek, poke } from '../support/qcow2-images.js'
import { randomInteger, seededRandom } from '../support/random.js'
import { MiB } from '../support/volumes.js'

const SEED = 20
const MUTANTS = 6000
const VOLUME = { volumeBytes: 8 * MiB, parentVolumeBytes: 8 * MiB }

/** Where the structures are that a mutant changes. */
interface Regions {
  readonly header: readonly [number, number]
  readonly extension: readonly [number, number]
  readonly directory: readonly [number, number]
  readonly table: readonly [number, number]
}

function makeImage(image: string): Regions {
  createImage(image, '8M', 'cluster_size=512')
  addBitmap(image, 'other', '1M')
  addBitmap(image, 'monday', '512')
  guest(image, 'write 1M 1M', 'write 2M 64k', 'write 5M 2M', 'write 8388096 512')
  const header = peek(image, 0, 512)
  let extension = header.readUInt32BE(100)
  while (header.readUInt32BE(extension) !== 0x2385_2875) {
    extension += 8 + Math.ceil(header.readUInt32BE(extension + 4) / 8) * 8
  }
  const directory = Number(header.readBigUInt64BE(extension + 24))
  const directoryBytes = Number(header.readBigUInt64BE(extension + 16))
  const entry = peek(image, directory, directoryBytes)
  const mine = entry.indexOf('monday') - 24
  const table = Number(entry.readBigUInt64BE(mine))
  return {
    header: [0, 112],
    extension: [extension, 32],
    directory: [directory, directoryBytes],
    table: [table, entry.readUInt32BE(mine + 8) * 8],
  }
}

/** Changes one to three places, mostly by a bit or a byte, sometimes a number to an extreme one. */
function mutate(image: string, regions: Regions, random: () => number): void {
  const pick = (from: number, to: number) => randomInteger(random, { from, to })
  for (let times = pick(1, 3); times > 0; times -= 1) {
    const names = ['header', 'extension', 'directory', 'table'] as const
    const [from, length] = regions[names[pick(0, 3)] ?? 'header']
    const at = from + pick(0, length - 1)
    const [old = 0] = peek(image, at, 1)
    const kind = pick(0, 9)
    if (kind < 5) poke(image, at, Buffer.of(old ^ (1 << pick(0, 7))))
    else if (kind < 8) poke(image, at, Buffer.of(pick(0, 255)))
    else if (kind < 9) poke(image, at - (at % 8), Buffer.alloc(8, pick(0, 1) * 255))
    else poke(image, at - (at % 4), Buffer.from([0x7f, 0xff, 0xff, 0xff]))
  }
  if (pick(0, 30) === 0) truncateSync(image, pick(0, statSync(image).size))
}

type Outcome = 'refused' | 'lost' | readonly StatedExtent[]

async function ask(image: string): Promise<Outcome> {
  try {
    const answer = await qcow2Changes({ path: image, bitmap: 'monday' }).changed(VOLUME)
    if (answer.health.kind === 'lost') return 'lost'
    return await gather(asynchronous(answer.extents))
  } catch (error) {
    if (error instanceof MoverError && error.code === 'CHANGES_MALFORMED') return 'refused'
    throw error
  }
}

async function* asynchronous<T>(items: Iterable<T> | AsyncIterable<T>): AsyncGenerator<T> {
  yield* items
}

/** What QEMU calls dirty, or why it refuses the image. */
async function askQemu(image: string, socket: string): Promise<readonly StatedExtent[] | string> {
  const pidFile = `${image}.pid`
  const server = ['-r', '-B', 'monday', '--fork', '--pid-file', pidFile, '-k', socket]
  const started = spawnSync('qemu-nbd', [...server, '-f', 'qcow2', image], { encoding: 'utf8' })
  if (started.status !== 0) return started.stderr
  try {
    const uri = `nbd+unix:///?socket=${socket}`
    const { extents } = await nbdChanges({ uri, bitmap: 'monday' }).changed(VOLUME)
    return await gather(asynchronous(extents))
  } finally {
    process.kill(Number(readFileSync(pidFile, 'utf8')))
    while (existsSync(socket)) await sleep(5)
  }
}

/** The first extent that only the second calls changed. */
function firstMissed(
  answer: readonly StatedExtent[],
  truth: readonly StatedExtent[],
): StatedExtent | null {
  const clean = answer.filter(({ state }) => state === 'clean')
  const changed = truth.filter(({ state }) => state !== 'clean')
  return (
    changed.find(({ offset, length }) =>
      clean.some(part => part.offset < offset + length && offset < part.offset + part.length),
    ) ?? null
  )
}

t.test(`${MUTANTS} mutants of an image, seed ${SEED}`, async t => {
  const dir = t.testdir({})
  const [whole, mutant] = [join(dir, 'whole.qcow2'), join(dir, 'mutant.qcow2')]
  const regions = makeImage(whole)
  const socket = socketPath(t)
  const truth = await ask(whole)
  if (typeof truth === 'string') throw new Error(`the image itself is ${truth}`)
  const random = seededRandom(SEED)
  const counts = { refused: 0, lost: 0, same: 0, more: 0, asked: 0 }
  let slowestMs = 0
  for (let number = 0; number < MUTANTS; number += 1) {
    copyFileSync(whole, mutant)
    mutate(mutant, regions, random)
    const begunMs = performance.now()
    const outcome = await ask(mutant)
    slowestMs = Math.max(slowestMs, performance.now() - begunMs)
    if (typeof outcome === 'string') counts[outcome] += 1
    else if (JSON.stringify(outcome) === JSON.stringify(truth)) counts.same += 1
    else if (firstMissed(outcome, truth) === null) counts.more += 1
    else {
      // A whole image that says something else: what QEMU reads in it decides.
      counts.asked += 1
      const theirs = await askQemu(mutant, socket)
      // QEMU opens no image of which one bitmap is not sound; the other one's table is not looked at here.
      const isOther = typeof theirs === 'string' && /bitmap '(?!monday)/i.test(theirs)
      const missed = typeof theirs === 'string' ? theirs : firstMissed(outcome, theirs)
      if (missed !== null && !isOther)
        t.fail(`mutant ${number} calls clean what is dirty`, { missed })
    }
  }
  t.comment(JSON.stringify({ ...counts, slowestMs: Math.round(slowestMs) }))
  t.ok(counts.refused > MUTANTS / 20 && counts.lost > MUTANTS / 50 && counts.same > 0)
  t.ok(slowestMs < 10_000, 'none takes long')
})
