/**
 * A process that serves nothing but a dirty bitmap: `node map-server.js SOCKET BYTES EXTENTS extended|structured`.
 * It speaks the 64-bit headers of QEMU 8.2 and later, which Debian 12 has no server for, and cuts its
 * answers as QEMU does. That many extents of one granule each are dirty, evenly apart.
 */
import { createServer, type Socket } from 'node:net'

const [socketPath = '', bytesText, extentsText, headers] = process.argv.slice(2)
const VOLUME_BYTES = Number(bytesText)
const EXTENTS = Number(extentsText)
const IS_EXTENDED = headers === 'extended'
const CONTEXT = 'qemu:dirty-bitmap:map'
const CONTEXT_ID = 1
const GRANULE_BYTES = 65_536
const STRIDE_BYTES = Math.floor(VOLUME_BYTES / EXTENTS / GRANULE_BYTES) * GRANULE_BYTES

/** QEMU's NBD_MAX_BLOCK_STATUS_EXTENTS. */
const RUNS_PER_ANSWER = 131_072

const REPLY_MAGIC = 0x3e889045565a9n
const [ACK, INFO, META_CONTEXT, UNSUPPORTED] = [1, 3, 4, 0x8000_0001]
const [GO, STRUCTURED, SET_CONTEXT, EXTENDED] = [7, 8, 10, 11]
/** HAS_FLAGS and READ_ONLY. */
const FLAGS = 3
const BLOCK_STATUS = 7

function optionReply(option: number, kind: number, body = Buffer.alloc(0)): Buffer {
  const reply = Buffer.alloc(20)
  reply.writeBigUInt64BE(REPLY_MAGIC)
  reply.writeUInt32BE(option, 8)
  reply.writeUInt32BE(kind, 12)
  reply.writeUInt32BE(body.length, 16)
  return Buffer.concat([reply, body])
}

/** An answer to the option, as it came. */
function agree(option: number): Buffer {
  if (option === SET_CONTEXT) {
    const id = Buffer.alloc(4)
    id.writeUInt32BE(CONTEXT_ID)
    const named = optionReply(option, META_CONTEXT, Buffer.concat([id, Buffer.from(CONTEXT)]))
    return Buffer.concat([named, optionReply(option, ACK)])
  }
  if (option === GO) {
    const body = Buffer.alloc(12)
    body.writeBigUInt64BE(BigInt(VOLUME_BYTES), 2)
    body.writeUInt16BE(FLAGS, 10)
    return Buffer.concat([optionReply(option, INFO, body), optionReply(option, ACK)])
  }
  const isAgreed = option === EXTENDED ? IS_EXTENDED : option === STRUCTURED
  return optionReply(option, isAgreed ? ACK : UNSUPPORTED)
}

/** Runs from `offset` to `end`, or as many as one answer has. */
function blockStatus(cookie: Buffer, offset: number, end: number): Buffer {
  const unit = IS_EXTENDED ? 8 : 4
  const runs = Buffer.alloc(RUNS_PER_ANSWER * 2 * unit)
  let [at, used] = [offset, 0]
  while (at < end && used < runs.length) {
    const within = at % STRIDE_BYTES
    const isDirty = within < GRANULE_BYTES && Math.floor(at / STRIDE_BYTES) < EXTENTS
    const next = at - within + (within < GRANULE_BYTES ? GRANULE_BYTES : STRIDE_BYTES)
    const length = Math.min(next, end) - at
    for (const value of [length, Number(isDirty)]) {
      if (IS_EXTENDED) runs.writeBigUInt64BE(BigInt(value), used)
      else runs.writeUInt32BE(value, used)
      used += unit
    }
    at += length
  }
  const count = used / unit / 2
  const head = Buffer.alloc(IS_EXTENDED ? 40 : 24)
  head.writeUInt32BE(IS_EXTENDED ? 0x6e8a278c : 0x668e33ef)
  head.writeUInt16BE(1, 4)
  head.writeUInt16BE(IS_EXTENDED ? 6 : 5, 6)
  cookie.copy(head, 8)
  if (IS_EXTENDED) {
    head.writeBigUInt64BE(BigInt(offset), 16)
    head.writeBigUInt64BE(BigInt(8 + used), 24)
    head.writeUInt32BE(CONTEXT_ID, 32)
    head.writeUInt32BE(count, 36)
  } else {
    head.writeUInt32BE(4 + used, 16)
    head.writeUInt32BE(CONTEXT_ID, 20)
  }
  return Buffer.concat([head, runs.subarray(0, used)])
}

/** What is asked of a connection, a message at a time: how many bytes one has, and what to do with it. */
function serve(socket: Socket): void {
  let heard = Buffer.alloc(0)
  let phase: 'flags' | 'options' | 'requests' = 'flags'
  const take = (bytes: number): Buffer | null => {
    if (heard.length < bytes) return null
    const taken = heard.subarray(0, bytes)
    heard = heard.subarray(bytes)
    return taken
  }
  const step = (): boolean => {
    if (phase === 'flags') {
      if (take(4) === null) return false
      phase = 'options'
      return true
    }
    if (phase === 'options') {
      const length = heard.length < 16 ? Infinity : heard.readUInt32BE(12)
      const option = take(16 + length)
      if (option === null) return false
      const number = option.readUInt32BE(8)
      socket.write(agree(number))
      if (number === GO) phase = 'requests'
      return true
    }
    const request = take(IS_EXTENDED ? 32 : 28)
    if (request === null) return false
    if (request.readUInt16BE(6) !== BLOCK_STATUS) {
      socket.end()
      return false
    }
    const offset = Number(request.readBigUInt64BE(16))
    const length = IS_EXTENDED ? Number(request.readBigUInt64BE(24)) : request.readUInt32BE(24)
    socket.write(blockStatus(request.subarray(8, 16), offset, offset + length))
    return true
  }
  socket.on('error', () => socket.destroy())
  socket.on('data', bytes => {
    heard = Buffer.concat([heard, bytes])
    while (step());
  })
  socket.write(Buffer.from('NBDMAGICIHAVEOPT\0\x03', 'latin1'))
}

createServer(serve).listen(socketPath)
