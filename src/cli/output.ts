import type { TextStream } from './io.js'

/**
 * Text to a stream, at the speed of whoever reads it. A stream that breaks never throws here: the
 * reader may go at any time (`mover list | head`), and by then an operation may hold something
 * that has to be let go of in order. `onBroken` is told once, and what is written later is dropped.
 */
export class Output implements Disposable {
  readonly #stream: TextStream
  readonly #onBroken: () => void
  #failure: Error | null = null

  constructor(stream: TextStream, { onBroken }: { readonly onBroken: () => void }) {
    this.#stream = stream
    this.#onBroken = onBroken
    stream.on('error', this.#fail)
  }

  /** What broke the stream, or null. */
  get failure(): Error | null {
    return this.#failure
  }

  /** True when the reader closed its end, which is its right and nobody's error. */
  get isClosedByReader(): boolean {
    return this.#failure !== null && 'code' in this.#failure && this.#failure.code === 'EPIPE'
  }

  /** Resolves when the stream has taken the text, or is broken. */
  async write(text: string): Promise<void> {
    if (this.#failure !== null || text === '') return
    await new Promise<void>(resolve => {
      this.#stream.write(text, error => {
        if (error) this.#fail(error)
        resolve()
      })
    })
  }

  [Symbol.dispose](): void {
    // A broken stream keeps its listener: a late 'error' must not become an uncaught exception.
    if (this.#failure === null) this.#stream.off('error', this.#fail)
  }

  readonly #fail = (error: Error): void => {
    if (this.#failure !== null) return
    this.#failure = error
    this.#onBroken()
  }
}
