import { existsSync } from 'node:fs'
import { join } from 'node:path'
import { ROOT } from '../harness/bench.js'
import { findBorg } from './borg.js'
import { findKopia } from './kopia.js'
import type { Peer } from './peer.js'
import { findRestic } from './restic.js'
import { findRustic } from './rustic.js'

/** The peers that are on this machine: installed by install.sh, or on PATH. */
export function installedPeers(): Peer[] {
  const program = (name: string) => {
    const own = join(ROOT, 'bench', 'peers', 'installed', 'bin', name)
    return existsSync(own) ? own : name
  }
  return [
    findBorg(program('borg')),
    findRestic(program('restic')),
    findRustic(program('rustic')),
    findKopia(program('kopia')),
  ].filter(peer => peer !== null)
}
