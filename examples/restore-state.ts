/**
 * Brings a target back to an earlier state of its volume by writing only what differs, and reads
 * it back past the cache.
 *
 *   node restore-state.js REPOSITORY MANIFEST TARGET
 */
import { MoverError, openRepository, restore } from 'mover'

const [path = '', manifest = '', target = ''] = process.argv.slice(2)

await using repository = await openRepository(path)
await using job = restore({
  repository,
  manifest,
  target,
  onto: 'auto',
  force: ['exists'],
  readBack: true,
})
try {
  const { bytes } = await job.result
  console.log(`wrote ${bytes.written}, zeroed ${bytes.zero}, left ${bytes.unchanged} as they were`)
} catch (error) {
  if (!(error instanceof MoverError)) throw error
  console.error(error.message, error.remedy ?? '')
  process.exitCode = 1
}
