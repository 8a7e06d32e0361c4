import { synced, versionOf, type Peer } from './peer.js'

/** Fixed chunks of 128 KiB, BLAKE3, s2. */
export function findKopia(program: string): Peer | null {
  const version = versionOf(program, '--version')
  if (version === null) return null
  const env = (repository: string) => ({
    KOPIA_PASSWORD: 'bench',
    KOPIA_CONFIG_PATH: `${repository}.config`,
    KOPIA_CHECK_FOR_UPDATES: 'false',
  })
  return {
    name: 'kopia',
    version,
    init: repository => [
      {
        argv: [
          ...[program, 'repository', 'create', 'filesystem', '--path', repository],
          ...['--block-hash', 'BLAKE3-256', '--encryption', 'AES256-GCM-HMAC-SHA256'],
          ...['--object-splitter', 'FIXED-128K'],
        ],
        env: env(repository),
      },
      {
        argv: [
          ...[program, 'policy', 'set', '--global', '--compression', 's2-default'],
          ...['--parallel-upload-above-size-mib', '256'],
        ],
        env: env(repository),
      },
    ],
    backup: (repository, item) =>
      synced(
        `${program} --no-auto-maintenance snapshot create --no-progress --parallel 2 .`,
        repository,
        { cwd: item, env: env(repository) },
      ),
    restore: (repository, into) =>
      synced(
        `${program} --no-auto-maintenance restore --no-progress --write-sparse-files "$(${program} snapshot list --all --json | sed -n 's/.*"rootEntry".*"obj":"\\([^"]*\\)".*/\\1/p' | tail -1)" .`,
        into,
        { cwd: into, env: env(repository) },
      ),
  }
}
