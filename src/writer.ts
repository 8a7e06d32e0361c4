import { packageVersion } from './native/installed.js'

/** Who wrote a manifest: program and version, as manifests and results record it. */
export const WRITER = `mover ${packageVersion()}`
