import { MoverError } from '../core/errors.js'

/** What names a change map, and the options given after it. */
export interface SplitSpec<Name extends string> {
  readonly rest: string
  /** Null where an option is not given. */
  readonly options: Readonly<Record<Name, string | null>>
}

/**
 * Splits `WHAT,name=value,…`. Options are recognised from the right and by name only, so that WHAT may
 * hold commas; one that ends like an option has to be renamed. Throws ARGUMENT_INVALID for an option
 * that is given twice, or empty.
 */
export function splitSpec<Name extends string>(
  spec: string,
  names: readonly Name[],
): SplitSpec<Name> {
  const option = new RegExp(`^(.*),(${names.join('|')})=(.*?)$`, 's')
  const found = new Map<string, string>()
  let rest = spec
  for (let match = option.exec(rest); match !== null; match = option.exec(rest)) {
    const [, before = '', name = '', value = ''] = match
    if (found.has(name)) throw invalidSpec(spec, `${name} is given twice`)
    if (value === '') throw invalidSpec(spec, `${name} has no value`)
    found.set(name, value)
    rest = before
  }
  const options = Object.fromEntries(names.map(name => [name, found.get(name) ?? null]))
  return { rest, options: options as Record<Name, string | null> }
}

/** The error of a change map's name that means nothing. */
export function invalidSpec(spec: string, why: string): MoverError {
  return new MoverError('ARGUMENT_INVALID', `'${spec}' does not name a change map: ${why}`)
}
