import { synced, versionOf, type Peer } from './peer.js'

const ENV = {
  BORG_UNKNOWN_UNENCRYPTED_REPO_ACCESS_IS_OK: 'yes',
  BORG_RELOCATED_REPO_ACCESS_IS_OK: 'yes',
}

/** Fixed chunks, LZ4, no encryption. */
export function findBorg(program: string): Peer | null {
  const version = versionOf(program, '--version')
  if (version === null) return null
  return {
    name: 'borg',
    version,
    init: repository => [{ argv: [program, 'init', '-e', 'none', repository], env: ENV }],
    backup: (repository, item) =>
      synced(
        `${program} create --chunker-params fixed,65536 --sparse -C lz4 --read-special '${repository}::{now:%s%f}' disk.img`,
        repository,
        { cwd: item, env: ENV },
      ),
    restore: (repository, into) =>
      synced(
        `${program} extract --sparse "${repository}::$(${program} list --last 1 --short '${repository}')"`,
        into,
        { cwd: into, env: ENV },
      ),
  }
}
