import { MemoryBackend } from '../../src/backend/memory-backend.js'
import { backendContract } from '../contract/backend-contract.js'

backendContract('the memory backend', async () => {
  const backend = new MemoryBackend()
  return {
    backend,
    writeTemporary: async (tempPath, bytes) => backend.writeTemporary(tempPath, bytes),
  }
})
