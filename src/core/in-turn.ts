/**
 * Yields all that `open` gives for each item, in the order of the items. The first value of as many as
 * `ahead` items is asked for before their turn.
 */
export async function* inTurn<Item, Value>(
  ahead: number,
  items: readonly Item[],
  open: (item: Item) => AsyncGenerator<Value>,
): AsyncGenerator<Value> {
  const begun: Begun<Value>[] = []
  try {
    for (const [position] of items.entries()) {
      for (const item of items.slice(position + begun.length, position + ahead)) {
        begun.push(begin(open(item)))
      }
      const current = begun[0]
      if (current === undefined) continue
      for (let next = await current.first; next.done !== true;) {
        yield next.value
        next = await current.values.next()
      }
      begun.shift()
    }
  } finally {
    await Promise.allSettled(begun.map(({ values }) => values.return(undefined)))
  }
}

interface Begun<Value> {
  readonly values: AsyncGenerator<Value>
  readonly first: Promise<IteratorResult<Value>>
}

function begin<Value>(values: AsyncGenerator<Value>): Begun<Value> {
  const first = values.next()
  // Awaited in its turn; a failure before that is not unhandled.
  first.catch(() => {})
  return { values, first }
}
