/**
 * Text from outside (a volume's name, a tag, a path) as it may be shown on a terminal: control
 * characters are written as `\x1b`, so that no name can move the cursor or start a new line.
 */
export function printable(text: string): string {
  return text.replace(CONTROL, character => {
    const code = character.charCodeAt(0)
    return code < 0x100 ? `\\x${code.toString(16).padStart(2, '0')}` : `\\u${code.toString(16)}`
  })
}

// C0, DEL, C1, and the marks that reorder or hide text (bidirectional overrides, line separators).
const CONTROL = /[\u0000-\u001f\u007f-\u009f\u200e\u200f\u2028-\u202e\u2066-\u2069]/g

/** One word of a POSIX shell's command line, quoted only where it has to be. */
export function shellWord(text: string): string {
  return /^[\w@%+=:,./~-]+$/.test(text) && !text.startsWith('~')
    ? text
    : `'${text.replaceAll("'", `'\\''`)}'`
}
