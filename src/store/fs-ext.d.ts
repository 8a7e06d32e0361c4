/** The one call we use of a package that ships no types. */
declare module 'fs-ext' {
  /** flock(2) with LOCK_EX | LOCK_NB: fails with EAGAIN where another open file holds the lock. */
  export function flock(
    fd: number,
    flags: 'exnb',
    callback: (error: NodeJS.ErrnoException | null) => void,
  ): void
}
