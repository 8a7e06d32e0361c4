import t from 'tap'
import { PLANNED_ROW_BYTES } from '../../src/native/batch.js'
import { batchesOf } from '../../src/pipeline/decode-pipeline.js'

// Eight workers once took 850 MiB for a restore: each batch brought the rows of its whole window along.
t.test('a batch that is posted to a worker brings its own rows, and no others', async t => {
  const rows = Uint8Array.from(
    { length: 10 * PLANNED_ROW_BYTES },
    (_, at) => at / PLANNED_ROW_BYTES,
  )
  const batches = [...batchesOf({ rows, batches: Uint32Array.of(0, 4, 4, 10) })]
  const numbers = batches.map(batch => [...new Set(batch)])
  t.strictSame(numbers, [
    [0, 1, 2, 3],
    [4, 5, 6, 7, 8, 9],
  ])
  for (const batch of batches) {
    t.equal(structuredClone(batch).buffer.byteLength, batch.length)
    t.equal(batch.length % PLANNED_ROW_BYTES, 0)
  }
})
