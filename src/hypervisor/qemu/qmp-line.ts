import type { AbortOptions } from '../../core/abort.js'
import { QmpClient, type QmpEvent } from './qmp-client.js'

/**
 * The way to one monitor, which is opened anew when a connection was given up: what was begun has to be
 * ended, also after a cancel.
 */
export class QmpLine implements AsyncDisposable {
  readonly path: string
  /** Whoever wants to know what QEMU tells. */
  onEvent: (event: QmpEvent) => void = () => {}
  #client: QmpClient | null = null

  private constructor(path: string) {
    this.path = path
  }

  static async open(path: string, options?: AbortOptions): Promise<QmpLine> {
    const line = new QmpLine(path)
    await line.client(options)
    return line
  }

  /** A client that is open. Throws what `QmpClient.open` throws. */
  async client(options: AbortOptions = {}): Promise<QmpClient> {
    if (this.#client?.isOpen !== true) {
      const onEvent = (event: QmpEvent) => this.onEvent(event)
      this.#client = await QmpClient.open(this.path, { ...options, onEvent })
    }
    return this.#client
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#client?.[Symbol.asyncDispose]()
    this.#client = null
  }
}
