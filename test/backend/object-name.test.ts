import t from 'tap'
import {
  checkObjectName,
  checkObjectPrefix,
  configName,
  doubtName,
  isObjectName,
  manifestName,
  packName,
  segmentName,
  sessionName,
} from '../../src/backend/object-name.js'

const DIGEST = 'abcd'.repeat(16)
const SESSION = '12ef'.repeat(8)

t.test('the names that are made are names', async t => {
  const names = [
    configName(1),
    configName(1234),
    packName(DIGEST),
    segmentName(DIGEST),
    manifestName({ volumeKey: DIGEST, sessionId: SESSION }),
    doubtName(DIGEST),
    sessionName(SESSION),
  ]
  for (const name of names) {
    t.equal(isObjectName(name), true, name)
    checkObjectName(name)
  }
})

t.test('nothing else is one', async t => {
  const rows = [
    '',
    '.',
    'config',
    'config/',
    'config/0',
    'config/01',
    'config/1\n',
    'config/-1',
    'config/../config/1',
    '/config/1',
    `index/${DIGEST.toUpperCase()}`,
    `index/${DIGEST}0`,
    `index/${DIGEST}\0`,
    `packs/${DIGEST}`,
    `packs/ab/ce/${DIGEST}`,
    `packs/ab/cd/ef${DIGEST.slice(2)}`,
    `packs/../cd/${DIGEST}`,
    `manifests/vm-1/${SESSION}`,
    `manifests/${DIGEST}/../${SESSION}`,
    `doubts/${SESSION}`,
    `sessions/${DIGEST}`,
    `tmp/${SESSION}`,
    `keys/${SESSION}`,
  ]
  for (const name of rows) {
    t.equal(isObjectName(name), false, name)
    t.throws(() => checkObjectName(name), { name: 'InvariantError' })
  }
})

t.test('objects are listed by kind or volume, and by nothing else', async t => {
  checkObjectPrefix('packs/')
  checkObjectPrefix(`manifests/${DIGEST}/`)
  for (const prefix of [
    '',
    '/',
    'packs',
    'tmp/',
    'packs/ab/',
    'manifests/vm-1/',
    'manifests/../',
  ]) {
    t.throws(() => checkObjectPrefix(prefix), { name: 'InvariantError' }, prefix)
  }
})
