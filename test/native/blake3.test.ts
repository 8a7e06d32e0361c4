import t from 'tap'
import { digestHex } from '../../src/core/digest.js'
import { deriveDigest, hashBytes } from '../../src/native/blake3.js'

/** Input of BLAKE3's own test vectors: 0, 1, …, 250, 0, 1, … */
const input = (length: number) => Uint8Array.from({ length }, (_, at) => at % 251)

const CONTEXT = 'BLAKE3 2019-12-27 16:29:52 test vectors context'

/** From test_vectors.json of the BLAKE3 project, the first 32 bytes. */
const vectors = [
  {
    length: 0,
    hash: 'af1349b9f5f9a1a6a0404dea36dcc9499bcb25c9adc112b7cc9a93cae41f3262',
    derived: '2cc39783c223154fea8dfb7c1b1660f2ac2dcbd1c1de8277b0b0dd39b7e50d7d',
  },
  {
    length: 1,
    hash: '2d3adedff11b61f14c886e35afa036736dcd87a74d27b5c1510225d0f592e213',
    derived: 'b3e2e340a117a499c6cf2398a19ee0d29cca2bb7404c73063382693bf66cb06c',
  },
  {
    length: 1024,
    hash: '42214739f095a406f3fc83deb889744ac00df831c10daa55189b5d121c855af7',
    derived: '7356cd7720d5b66b6d0697eb3177d9f8d73a4a5c5e968896eb6a689684302706',
  },
  {
    length: 1025,
    hash: 'd00278ae47eb27b34faecf67b4fe263f82d5412916c1ffd97c8cb7fb814b8444',
    derived: 'effaa245f065fbf82ac186839a249707c3bddf6d3fdda22d1b95a3c970379bcb',
  },
]

t.test('gives the digests of BLAKE3’s own test vectors', async t => {
  for (const { length, hash, derived } of vectors) {
    t.equal(digestHex(hashBytes(input(length))), hash, `${length} bytes`)
    t.equal(digestHex(deriveDigest(CONTEXT, input(length))), derived, `${length} bytes, derived`)
  }
})

t.test('a guest’s bytes never have the digest of a page or a manifest', async t => {
  const bytes = input(100)
  const digests = [
    hashBytes(bytes),
    deriveDigest('mover 1 tree page', bytes),
    deriveDigest('mover 1 tree root', bytes),
    deriveDigest('mover 1 manifest', bytes),
  ]
  t.equal(new Set(digests.map(digestHex)).size, digests.length)
})
