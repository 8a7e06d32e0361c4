import { readFileSync } from 'node:fs'

/** Of a socket that accepts connections: __SO_ACCEPTCON, in the column of flags. */
const ACCEPTS = '00010000'

/**
 * Whether somebody listens on the Unix socket at `path`: between bind and listen the file is there, and who
 * connects is refused. From proc(5), net/unix, so that a server with room for one client sees none.
 */
export function isListening(path: string): boolean {
  return readFileSync('/proc/net/unix', 'utf8')
    .split('\n')
    .some(line => line.split(' ')[3] === ACCEPTS && line.endsWith(` ${path}`))
}
