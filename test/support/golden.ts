import { readFile } from 'node:fs/promises'
import type { Test } from 'tap'

/**
 * Compares bytes with `test/golden/NAME.hex`. Where they differ, the format has changed: FORMAT.md
 * and the golden file change in the same commit, or the change is a mistake.
 */
export async function matchGolden(t: Test, name: string, bytes: Uint8Array): Promise<void> {
  const golden = await goldenBytes(name)
  t.equal(hexLines(bytes), hexLines(golden), `${name} is written as it ever was`)
}

/** The bytes of `test/golden/NAME.hex`, in which spaces and lines mean nothing. */
export async function goldenBytes(name: string): Promise<Uint8Array> {
  const file = new URL(`../../../test/golden/${name}.hex`, import.meta.url)
  return Buffer.from((await readFile(file, 'latin1')).replace(/\s/g, ''), 'hex')
}

/** 32 bytes a line. */
export function hexLines(bytes: Uint8Array): string {
  return (
    Buffer.from(bytes)
      .toString('hex')
      .match(/.{1,64}/g) ?? []
  ).join('\n')
}
