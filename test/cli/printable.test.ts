import t from 'tap'
import { printable, shellWord } from '../../src/cli/printable.js'

t.test('no name can move the cursor', async t => {
  const rows = [
    { text: 'vm-42/sda', shown: 'vm-42/sda' },
    { text: 'größe 磁盘', shown: 'größe 磁盘' },
    { text: 'a\x1b[2Jb', shown: 'a\\x1b[2Jb' },
    { text: 'a\nb\tc\x7f', shown: 'a\\x0ab\\x09c\\x7f' },
    { text: 'a\u202eb', shown: 'a\\u202eb' },
    { text: '\x9b1m', shown: '\\x9b1m' },
  ]
  for (const { text, shown } of rows) t.equal(printable(text), shown)
})

t.test('a word that a shell would read otherwise is quoted', async t => {
  const rows = [
    { text: 'vm-42/sda@latest~1', word: 'vm-42/sda@latest~1' },
    { text: 'a b', word: "'a b'" },
    { text: "it's", word: "'it'\\''s'" },
    { text: '~/x', word: "'~/x'" },
    { text: '', word: "''" },
    { text: '$(reboot)', word: "'$(reboot)'" },
  ]
  for (const { text, word } of rows) t.equal(shellWord(text), word)
})
