import { synced, versionOf, type Peer } from './peer.js'

const ENV = { RUSTIC_PASSWORD: 'bench', RUSTIC_NO_CACHE: 'true' }

/** Fixed chunks of 64 KiB, no extra verification. */
export function findRustic(program: string): Peer | null {
  const version = versionOf(program, '--version')
  if (version === null) return null
  const quiet = '--no-progress --log-level error'
  return {
    name: 'rustic',
    version,
    init: repository => [
      {
        argv: [
          'sh',
          '-c',
          `${program} ${quiet} -r '${repository}' init --set-chunker fixed_size --set-chunk-size 64kiB --set-extra-verify false`,
        ],
        env: ENV,
      },
    ],
    backup: (repository, item) =>
      synced(
        `${program} ${quiet} -r '${repository}' backup --no-scan --force disk.img`,
        repository,
        {
          cwd: item,
          env: ENV,
        },
      ),
    restore: (repository, into) =>
      synced(`${program} ${quiet} -r '${repository}' restore --sparse by-content latest .`, into, {
        cwd: into,
        env: ENV,
      }),
  }
}
