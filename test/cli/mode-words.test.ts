import t from 'tap'
import { modeWords } from '../../src/cli/mode-words.js'

t.test('a mode that is not the requested one says why', async t => {
  const rows = [
    { mode: 'full', requested: 'full', reason: null, words: 'full' },
    {
      mode: 'rescan',
      requested: 'incremental',
      reason: 'resized',
      words: 'rescan, not incremental: the volume was resized, and trackers lie about that',
    },
    {
      mode: 'full',
      requested: 'incremental',
      reason: 'no-parent',
      words: 'full, not incremental: the volume had no backup yet',
    },
    {
      mode: 'rescan',
      requested: 'differential',
      reason: 'bitmap was inconsistent',
      words: 'rescan, not differential: bitmap was inconsistent',
    },
    { mode: 'rescan', requested: 'incremental', reason: null, words: 'rescan, not incremental' },
  ]
  for (const { words, ...made } of rows) t.equal(modeWords(made), words)
})
