/**
 * What one function opens and another closes: held by `await using` while it is being opened, and handed on
 * when all of it is. Node 20 has no AsyncDisposableStack.
 */
export class DisposalStack implements AsyncDisposable {
  #closers: (() => Promise<void> | void)[] = []

  /** Closes `opened` with the rest. */
  use<T extends AsyncDisposable>(opened: T): T {
    this.defer(async () => opened[Symbol.asyncDispose]())
    return opened
  }

  defer(close: () => Promise<void> | void): void {
    this.#closers.push(close)
  }

  /** Another stack with all that is in this one, which is then empty. */
  move(): DisposalStack {
    const moved = new DisposalStack()
    moved.#closers = this.#closers
    this.#closers = []
    return moved
  }

  /** Closes what was opened last first, all of it whatever happens; throws the first error there was. */
  async [Symbol.asyncDispose](): Promise<void> {
    const errors: unknown[] = []
    for (const close of this.#closers.splice(0).reverse()) {
      try {
        await close()
      } catch (error) {
        errors.push(error)
      }
    }
    if (errors.length > 0) throw errors[0]
  }
}
