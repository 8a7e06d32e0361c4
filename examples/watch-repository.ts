/**
 * Looks after a repository: lists each volume's newest state, compares it with the one before, and
 * verifies it. Two volumes are verified at a time, in one process; Ctrl-C stops both cleanly.
 *
 *   node watch-repository.js REPOSITORY
 */
import { diff, MoverError, openRepository, verify } from 'mover'

const [path = ''] = process.argv.slice(2)
const interrupted = new AbortController()
process.once('SIGINT', () => interrupted.abort())
const { signal } = interrupted

await using repository = await openRepository(path)
const manifests = await repository.manifests()
const volumes = [...new Set(manifests.map(({ volume }) => volume))]

async function look(volume: string): Promise<void> {
  const [before, newest] = manifests.filter(manifest => manifest.volume === volume).slice(-2)
  if (before !== undefined && newest !== undefined) {
    let changed = 0
    for await (const { length } of diff({ repository, from: before.id, to: newest.id, signal })) {
      changed += length
    }
    console.log(`${volume}: ${changed} bytes differ from the state before`)
  }
  await using job = verify({ repository, manifests: [`${volume}@latest`], signal })
  for await (const event of job.events) {
    if (event.type === 'warning') console.error(`${volume}: ${event.message}`)
  }
  const { chunks, damage } = await job.result
  console.log(`${volume}: ${chunks} chunks hold, ${damage.length} things are damaged`)
  for (const { kind, name, message } of damage) console.error(`${kind} ${name}: ${message}`)
}

try {
  for (let pair = 0; pair < volumes.length; pair += 2) {
    await Promise.all(volumes.slice(pair, pair + 2).map(look))
  }
} catch (error) {
  if (!(error instanceof MoverError)) throw error
  console.error(error.message, error.remedy ?? '')
  process.exitCode = 1
}
