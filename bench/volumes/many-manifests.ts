/** A repository of many volumes and manifests, written by the product's own encoder. */
import { randomBytes } from 'node:crypto'
import { readManifests } from '../../src/manifest/manifest-catalog.js'
import { encodeManifest } from '../../src/manifest/manifest-file.js'
import { volumeKey } from '../../src/manifest/volume-key.js'
import { LocalBackend } from '../../src/backend/local-backend.js'
import { manifestName } from '../../src/backend/object-name.js'
import { decodeManifest } from '../../src/manifest/manifest-file.js'
import { openRepository } from '../../src/repository.js'
import { mkdirSync, writeFileSync } from 'node:fs'
import { dirname, join } from 'node:path'

/**
 * Adds volumes to a repository that holds one manifest: each has `perVolume` manifests of that one's tree,
 * linked as real ones are. They are not synced one by one, which would only take time.
 */
export async function addManifests(
  path: string,
  { volumes, perVolume }: { readonly volumes: number; readonly perVolume: number },
): Promise<void> {
  await using repository = await openRepository(path)
  const backend = await LocalBackend.open(path)
  const [first] = (await readManifests({ id: repository.id, backend })).manifests
  if (first === undefined) throw new Error('the repository holds no manifest to copy')
  for (let number = 0; number < volumes; number += 1) {
    const volume = `vm-${number}/sda`
    let previous: string[] = []
    for (let sequence = 1; sequence <= perVolume; sequence += 1) {
      const sessionId = randomBytes(16).toString('hex')
      const createdMs = first.createdMs + sequence * 86_400_000
      const { id: _id, ...fields } = first
      const bytes = encodeManifest({ ...fields, volume, sessionId, sequence, previous, createdMs })
      const name = join(path, manifestName({ volumeKey: volumeKey(volume), sessionId }))
      mkdirSync(dirname(name), { recursive: true, mode: 0o700 })
      writeFileSync(name, bytes, { mode: 0o600 })
      previous = [decodeManifest(bytes).id]
    }
  }
}
