import { codecsPart } from './codecs.bench.js'
import { databasePart } from './database.bench.js'
import { fullPart } from './full.bench.js'
import type { Part } from './harness/bench.js'
import { incompressiblePart } from './incompressible.bench.js'
import { incrementalPart } from './incremental.bench.js'
import { indexPart } from './index.bench.js'
import { libvirtPart } from './libvirt.bench.js'
import { manifestsPart } from './manifests.bench.js'
import { memoryPart } from './memory.bench.js'
import { nbdChangesPart } from './nbd-changes.bench.js'
import { nbdPart } from './nbd.bench.js'
import { ontoPart } from './onto.bench.js'
import { peersPart } from './peers.bench.js'
import { quickPart } from './quick.bench.js'
import { rescanPart } from './rescan.bench.js'
import { restorePart } from './restore.bench.js'
import { scalingPart } from './scaling.bench.js'
import { unchangedPart } from './unchanged.bench.js'
import { verifyPart } from './verify.bench.js'

/** In the order in which they run. */
export const PARTS: readonly Part[] = [
  fullPart,
  codecsPart,
  incompressiblePart,
  incrementalPart,
  nbdPart,
  nbdChangesPart,
  unchangedPart,
  rescanPart,
  restorePart,
  ontoPart,
  verifyPart,
  databasePart,
  memoryPart,
  indexPart,
  manifestsPart,
  scalingPart,
  peersPart,
  libvirtPart,
  quickPart,
]

export const PART_NAMES = PARTS.map(({ name }) => name)
