import { execFileSync } from 'node:child_process'
import t from 'tap'
import { bashCompletion } from '../../src/cli/bash-completion.js'
import { COMMANDS } from '../../src/cli/commands.js'
import { COMPLETIONS } from '../../src/cli/completion-command.js'

t.test('bash takes its script', async t => {
  const script = bashCompletion(COMMANDS)
  t.doesNotThrow(() => execFileSync('bash', ['-n'], { input: script }))
})

t.test('bash offers what may follow', async t => {
  const rows = [
    { words: ['mover', 'ba'], offers: ['backup'] },
    { words: ['mover', '--repo', 'list', 'ver'], offers: ['verify'] },
    { words: ['mover', '--repo', '=', 'x', 'ver'], offers: ['verify'] },
    { words: ['mover', 'backup', '--vol'], offers: ['--volume'] },
    { words: ['mover', 'backup', '--audit', ''], offers: ['default', 'off'] },
    { words: ['mover', 'restore', 'm', 't', '--force', '=', 'e'], offers: ['exists'] },
    { words: ['mover', 'restore', '--force', '='], offers: ['exists', 'in-use', 'identity'] },
    { words: ['mover', 'init', '--codec', 'z'], offers: ['zstd'] },
    { words: ['mover', 'completion', ''], offers: ['bash', 'zsh', 'fish'] },
    { words: ['mover', 'help', 'di'], offers: ['diff'] },
    { words: ['mover', 'backup', '--volume', 'x'], offers: [] },
  ]
  for (const { words, offers } of rows) {
    const offered = offersOfBash(words)
    const asked = offers.every(offer => offered.includes(offer))
    t.ok(
      asked && (offers.length > 0 || offered.length === 0),
      `${words.join(' ')} → ${offered.join(' ')}`,
    )
  }
})

t.test('bash offers files where a file is wanted, and folders where a folder is', async t => {
  const folder = t.testdir({ 'disk.img': '', disks: {} })
  const offered = offersOfBash(['mover', 'backup', `${folder}/di`]).sort()
  t.strictSame(offered, [`${folder}/disk.img`, `${folder}/disks`])
  t.strictSame(offersOfBash(['mover', 'list', '--repo', `${folder}/di`]), [`${folder}/disks`])
})

t.test('every shell is told of every command and option', async t => {
  for (const [shell, completion] of Object.entries(COMPLETIONS)) {
    const script = completion(COMMANDS)
    for (const { name, options } of COMMANDS) {
      t.ok(script.includes(name), `${shell}: ${name}`)
      for (const option of Object.keys(options))
        t.ok(script.includes(option), `${shell}: ${option}`)
    }
    t.equal(script.endsWith('\n'), true)
  }
})

t.test('zsh is given balanced quotes', async t => {
  for (const line of (COMPLETIONS['zsh']?.(COMMANDS) ?? '').split('\n')) {
    t.equal(line.replaceAll(`'\\''`, '').split(`'`).length % 2, 1, line)
  }
})

/** What the script puts into COMPREPLY when these are the words on the line, the last under the cursor. */
function offersOfBash(words: readonly string[]): string[] {
  const line = words.map(word => `'${word}'`).join(' ')
  const script = `${bashCompletion(COMMANDS)}
COMP_WORDS=(${line})
COMP_CWORD=${words.length - 1}
_mover
printf '%s\\n' "\${COMPREPLY[@]}"
`
  const output = execFileSync('bash', ['--norc'], { input: script, encoding: 'utf8' })
  return output.split('\n').filter(offer => offer !== '')
}
