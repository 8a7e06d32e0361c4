import { synced, versionOf, type Peer } from './peer.js'

const ENV = { RESTIC_PASSWORD: 'bench', RESTIC_CACHE_DIR: '/tmp/restic-bench-cache' }

/** Compression on, large packs where it has them. */
export function findRestic(program: string): Peer | null {
  const version = versionOf(program, 'version')
  if (version === null) return null
  // It came with 0.15.
  const sparse = /^restic 0\.([0-9]|1[0-4])\./.test(version) ? '' : '--sparse'
  return {
    name: 'restic',
    version,
    init: repository => [{ argv: [program, '-q', '-r', repository, 'init'], env: ENV }],
    backup: (repository, item) =>
      synced(
        `${program} -q -r '${repository}' --pack-size 64 backup --compression auto --force disk.img`,
        repository,
        { cwd: item, env: ENV },
      ),
    restore: (repository, into) =>
      synced(`${program} -q -r '${repository}' restore latest ${sparse} --target .`, into, {
        cwd: into,
        env: ENV,
      }),
  }
}
