import { fullPart } from './full.bench.js'
import type { Part } from './harness/bench.js'

/** In the order in which they run. */
export const PARTS: readonly Part[] = [fullPart]
