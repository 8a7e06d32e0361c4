import t from 'tap'
import { Output } from '../../src/cli/output.js'
import { FakeStream } from './fake-io.js'

t.test('text goes out in order, and the empty one not at all', async t => {
  const stream = new FakeStream()
  using output = new Output(stream, { onBroken: () => {} })
  await output.write('a')
  await output.write('')
  await output.write('b')
  t.equal(stream.text, 'ab')
  t.equal(output.failure, null)
})

t.test('a stream that breaks is told once, and never throws', async t => {
  for (const { code, isClosedByReader } of [
    { code: 'EPIPE', isClosedByReader: true },
    { code: 'ENOSPC', isClosedByReader: false },
    { code: 'EIO', isClosedByReader: false },
  ]) {
    const stream = new FakeStream()
    let told = 0
    const output = new Output(stream, { onBroken: () => (told += 1) })
    stream.failsWith = code
    await Promise.all([output.write('a'), output.write('b')])
    await output.write('c')
    t.equal(told, 1, code)
    t.equal(output.isClosedByReader, isClosedByReader)

    output[Symbol.dispose]()
    t.doesNotThrow(() => stream.emit('error', new Error('late')), 'a late error is heard too')
  }
})
