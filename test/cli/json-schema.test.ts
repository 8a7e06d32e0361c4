import t from 'tap'
import { failureOf } from '../../src/cli/failure.js'
import { jsonLine } from '../../src/cli/json-report.js'
import { JSON_SCHEMA, type Schema } from '../../src/cli/json-schema.js'
import { MoverError } from '../../src/core/errors.js'
import { manifestLike } from '../support/manifests.js'
import { misfits } from './json-schema-check.js'
import { progressEvent } from './progress-event.js'

/** The line as a program reads it, against the whole schema. */
function misfitsOf(record: object): string[] {
  return misfits(JSON.parse(jsonLine(record)), JSON_SCHEMA, JSON_SCHEMA)
}

t.test('every kind of line fits exactly one alternative', async t => {
  const damage = {
    kind: 'pack',
    name: 'ab',
    message: 'no',
    manifests: ['ab'],
    extents: [{ manifest: 'ab', offset: 0, length: 512 }],
    extentsInAll: 0,
  }
  const bytes = { volume: 1, read: 1, carried: 0, zero: 0, deduplicated: 0, stored: 1, written: 9 }
  const lines: object[] = [
    { type: 'stage', stage: 'plan' },
    { type: 'stage', stage: 'plan', disk: 'vda' },
    progressEvent({ etaSeconds: 1.5, limitedBy: 'compute' }),
    progressEvent({}),
    { type: 'warning', code: 'STOPPING', message: 'x' },
    { type: 'fallback', requested: 'incremental', mode: 'rescan', reason: 'lineage', message: 'x' },
    { type: 'damage', damage },
    { type: 'manifest', ...manifestLike({ tags: { a: 'b' }, previous: ['ab'], parent: 'ab' }) },
    { type: 'extent', offset: 0, length: 512, state: 'zero', changed: false },
    { offset: 0, length: 512, state: 'data' },
    { end: true, extents: 1 },
    {
      type: 'error',
      ...failureOf(new MoverError('SOURCE_FAILED', 'x', { offset: 5, stage: 'read' })),
    },
    { type: 'error', ...failureOf(new TypeError('x')) },
    {
      type: 'result',
      operation: 'backup',
      volume: 'v',
      manifest: 'ab',
      root: 'cd',
      parent: null,
      mode: 'rescan',
      requested: 'incremental',
      reason: 'resized',
      bytes,
      audit: { slots: 0, bytes: 0 },
      checkpoint: null,
      packs: 1,
      dryRun: false,
      seconds: 0.5,
      writer: 'mover 0.1.0',
    },
    { type: 'result', operation: 'list', manifests: 0 },
    { type: 'result', operation: 'show', ...manifestLike({}) },
    { type: 'result', operation: 'cat', manifest: 'ab', bytes: 5, seconds: 1 },
    {
      type: 'result',
      operation: 'cbt-status',
      source: 'x',
      kind: 'block',
      volumeBytes: 1,
      dataFile: null,
      trackers: [],
      reason: null,
      remedy: 'x',
    },
    {
      type: 'result',
      operation: 'rebuild-index',
      packs: 1,
      entries: 2,
      segments: 1,
      damage: [damage],
      seconds: 1,
    },
  ]
  for (const line of lines) t.strictSame(misfitsOf(line), [], JSON.stringify(line).slice(0, 60))
})

t.test('what is no line of ours fits none', async t => {
  const rows = [
    {},
    { type: 'stage' },
    { type: 'stage', stage: 'plan', more: 1 },
    { type: 'result', operation: 'burn' },
    { type: 'error', code: 'X' },
    { offset: -1, length: 512, state: 'data' },
    { type: 'manifest', ...manifestLike({ id: 'not hex' }) },
  ]
  for (const row of rows) t.not(misfitsOf(row).length, 0, JSON.stringify(row).slice(0, 60))
})

t.test('every reference leads somewhere', async t => {
  const names = Object.keys(JSON_SCHEMA.$defs)
  const visit = (schema: Schema): void => {
    if (schema.$ref !== undefined)
      t.ok(names.includes(schema.$ref.replace('#/$defs/', '')), schema.$ref)
    const parts = [...(schema.oneOf ?? []), schema.items, schema.additionalProperties]
    for (const part of [...parts, ...Object.values(schema.properties ?? {})]) if (part) visit(part)
  }
  visit(JSON_SCHEMA)
  Object.values(JSON_SCHEMA.$defs).forEach(visit)
})
