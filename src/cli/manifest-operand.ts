import type { OperandSpec } from './command.js'

/** A manifest, as every command takes one. */
export const MANIFEST_OPERAND = {
  label: 'MANIFEST',
  help: 'an id or its first digits, latest, full, VOLUME@latest, VOLUME@latest~1',
} as const satisfies OperandSpec

/** As many digits as people need to tell manifests apart. */
export function shortId(id: string): string {
  return id.slice(0, 12)
}
