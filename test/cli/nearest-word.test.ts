import t from 'tap'
import { nearestWord } from '../../src/cli/nearest-word.js'

t.test('the nearest word is the one that was probably meant', async t => {
  const candidates = ['backup', 'restore', 'list', 'verify', 'volume', 'changes', 'checkpoint']
  const rows = [
    { word: 'bakup', nearest: 'backup' },
    { word: 'bcakup', nearest: 'backup' },
    { word: 'lsit', nearest: 'list' },
    { word: 'vol', nearest: 'volume' },
    { word: 'restor', nearest: 'restore' },
    { word: 'check', nearest: 'checkpoint' },
    { word: 'ch', nearest: null },
    { word: 'snapshot', nearest: null },
    { word: '', nearest: null },
    { word: 'x', nearest: null },
  ]
  for (const { word, nearest } of rows) t.equal(nearestWord(word, candidates), nearest, word)
})
