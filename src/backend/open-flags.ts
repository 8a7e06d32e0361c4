/** How files are opened. Flags are bits, and so this is one of the few files with bit operators. */
import { constants } from 'node:fs'

const { O_CREAT, O_DIRECTORY, O_EXCL, O_NOFOLLOW, O_NONBLOCK, O_RDONLY, O_RDWR, O_WRONLY } =
  constants

/** A new file to write; EEXIST where the name is taken. */
export const NEW_FILE = O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW

/** A file to read: a planted symbolic link is not followed, a planted pipe does not block. */
export const READ_FILE = O_RDONLY | O_NOFOLLOW | O_NONBLOCK

/** A file to lock: for writing, since some network file systems lock nothing else. */
export const LOCK_FILE = O_RDWR | O_NOFOLLOW | O_NONBLOCK

/** A folder to sync. */
export const READ_FOLDER = O_RDONLY | O_DIRECTORY
