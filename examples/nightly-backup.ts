/**
 * A night's work of an orchestrator that owns the snapshots and the dirty bitmap: the first backup
 * is full, each later one reads what the bitmap names.
 *
 *   node nightly-backup.js REPOSITORY SNAPSHOT VOLUME [BITMAP SINCE] CHECKPOINT
 */
import { backup, changesFromFile, initRepository, MoverError, openRepository } from 'mover'

const [path = '', snapshot = '', volume = '', ...rest] = process.argv.slice(2)
const checkpoint = rest.pop() ?? ''
const [bitmap, since] = rest

await initRepository(path).catch(error => {
  if (!(error instanceof MoverError) || error.code !== 'REPOSITORY_EXISTS') throw error
})
await using repository = await openRepository(path)

// The map is pinned to the checkpoint from which it counts: the backup that stands for it is the
// parent, whatever is newest; if there is none, mover says "lineage" and reads everything.
const changes =
  bitmap === undefined
    ? null
    : await changesFromFile(`bitmap:${bitmap},granularity=64KiB,since=${since}`)

await using job = backup({ source: snapshot, repository, volume, changes, checkpoint })
for await (const event of job.events) {
  if (event.type === 'fallback' || event.type === 'warning') console.error(event.message)
}
const { mode, manifest, bytes } = await job.result
console.log(
  `${mode} ${manifest}: read ${bytes.read}, carried ${bytes.carried}, stored ${bytes.stored}`,
)
// Only now may the tracker forget what it had counted up to this checkpoint.
