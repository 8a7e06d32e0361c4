import { dirname } from 'node:path'
import { fileURLToPath } from 'node:url'

/** The project's own folder; the compiled tests lie in its build/test/support. */
export const projectFolder = dirname(dirname(dirname(dirname(fileURLToPath(import.meta.url)))))
