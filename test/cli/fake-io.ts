import { EventEmitter } from 'node:events'
import type { Host, Io, TextStream } from '../../src/cli/io.js'

/** A stream that keeps what is written to it, until it is broken. */
export class FakeStream extends EventEmitter implements TextStream {
  readonly isTTY: boolean
  readonly columns = 80
  text = ''
  /** Every write fails with this code once it is set, as a closed pipe's do. */
  failsWith: string | null = null

  constructor({ isTTY = false } = {}) {
    super()
    this.isTTY = isTTY
  }

  write(text: string, done: (error?: Error | null) => void): boolean {
    if (this.failsWith !== null) {
      const error = Object.assign(new Error(`write ${this.failsWith}`), { code: this.failsWith })
      setImmediate(() => {
        done(error)
        this.emit('error', error)
      })
      return false
    }
    this.text += text
    setImmediate(done)
    return true
  }

  get lines(): string[] {
    return this.text.split('\n').slice(0, -1)
  }
}

/** A process that can be sent signals, and remembers how it was made to exit. */
export class FakeHost extends EventEmitter {
  exitCode: number | null = null

  exit(code: number): void {
    this.exitCode = code
  }
}

export interface FakeIo extends Io {
  readonly stdout: FakeStream
  readonly stderr: FakeStream
  readonly host: FakeHost & Host
}

export interface FakeIoOptions {
  readonly environment?: Readonly<Record<string, string>>
  readonly isTerminal?: boolean
  readonly stdoutDescriptor?: number
}

export function fakeIo(options: FakeIoOptions = {}): FakeIo {
  const { environment = {}, isTerminal = false, stdoutDescriptor = -1 } = options
  return {
    stdout: new FakeStream({ isTTY: isTerminal }),
    stderr: new FakeStream({ isTTY: isTerminal }),
    stdoutDescriptor,
    environment,
    host: new FakeHost(),
  }
}
