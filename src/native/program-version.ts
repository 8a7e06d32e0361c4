import { packageVersion } from './installed.js'

/** Who wrote a manifest: program and version, as manifests and results record it. */
export const PROGRAM_VERSION = `mover ${packageVersion()}`
