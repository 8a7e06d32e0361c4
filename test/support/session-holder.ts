/** A program for tests: begins a session, makes a temporary file, says its id, waits to be killed. */
import { writeFile } from 'node:fs/promises'
import { LocalBackend } from '../../src/backend/local-backend.js'
import { beginSession } from '../../src/store/session.js'

const backend = await LocalBackend.open(process.argv[2] ?? '')
const session = await beginSession(backend, { kind: 'write', parent: null })
await writeFile(`${session.tempPrefix}pack-1`, 'half a pack')
process.stdout.write(`${session.id}\n`)
process.stdin.resume()
