/**
 * Contenders take turns on the same data in one run, and are compared round by round: a machine whose
 * speed drifts then drifts for all of them.
 */
import { dropPageCache } from './cold-cache.js'
import { runCommand, shown, type Command, type Run } from './command.js'

export interface Contender {
  readonly command: Command
  /** Done before each turn, not timed. */
  readonly prepare?: () => void | Promise<void>
  /** Done after each turn, not timed: throws when what came out is wrong. */
  readonly check?: (run: Run) => void | Promise<void>
  /** What counts as its seconds; by default the wall time with process start. */
  readonly seconds?: (run: Run) => number
  /** Whether the page cache is emptied before: so it is, unless this says false. */
  readonly cold?: boolean
}

/** Seconds of each contender in one round. */
export type Round<Name extends string> = Readonly<Record<Name, number>>

export interface Timed {
  readonly name: string
  readonly command: string
  readonly seconds: Spread
  readonly cpuSeconds: Spread
}

export interface Rounds<Name extends string> {
  readonly rounds: readonly Round<Name>[]
  readonly timed: readonly Timed[]
}

/** Median, lowest and highest of several measurements. */
export interface Spread {
  readonly median: number
  readonly min: number
  readonly max: number
}

/** Every contender once a round, each round beginning with another one. */
export async function runRounds<Name extends string>(
  contenders: Readonly<Record<Name, Contender>>,
  options: {
    readonly count: number
    readonly say: (line: string) => void
    /** Whether each round begins with another one: so it does, unless this says false. */
    readonly isRotated?: boolean
  },
): Promise<Rounds<Name>> {
  const names = Object.keys(contenders) as Name[]
  const runs = new Map<Name, { seconds: number; run: Run }[]>(names.map(name => [name, []]))
  for (let round = 0; round < options.count; round += 1) {
    const shift = options.isRotated === false ? 0 : round % names.length
    for (const name of [...names.slice(shift), ...names.slice(0, shift)]) {
      const { seconds, run } = await takeTurn(contenders[name])
      runs.get(name)?.push({ seconds, run })
      options.say(`  round ${round + 1}  ${name}  ${seconds.toFixed(3)} s`)
    }
  }
  const rounds = Array.from({ length: options.count }, (_, round) =>
    Object.fromEntries(names.map(name => [name, runs.get(name)?.[round]?.seconds ?? NaN])),
  ) as Round<Name>[]
  const timed = names.map(name => ({
    name,
    command: shown(contenders[name].command),
    seconds: spreadOf((runs.get(name) ?? []).map(({ seconds }) => seconds)),
    cpuSeconds: spreadOf((runs.get(name) ?? []).map(({ run }) => run.cpuSeconds)),
  }))
  return { rounds, timed }
}

async function takeTurn(contender: Contender): Promise<{ seconds: number; run: Run }> {
  await contender.prepare?.()
  if (contender.cold !== false) dropPageCache()
  const run = await runCommand(contender.command)
  await contender.check?.(run)
  return { seconds: contender.seconds?.(run) ?? run.wallSeconds, run }
}

/** Throws when there is nothing to take a median of. */
export function spreadOf(values: readonly number[]): Spread {
  const sorted = [...values].sort((a, b) => a - b)
  const [min, max] = [sorted[0], sorted.at(-1)]
  if (min === undefined || max === undefined || sorted.some(Number.isNaN)) {
    throw new Error('nothing was measured')
  }
  const middle = (sorted.length - 1) / 2
  const [below, above] = [sorted[Math.floor(middle)] ?? min, sorted[Math.ceil(middle)] ?? max]
  return { median: (below + above) / 2, min, max }
}

/** The spread of a ratio taken round by round. */
export function ratioOf<Name extends string>(
  { rounds }: Rounds<Name>,
  ratio: (round: Round<Name>) => number,
): Spread {
  return spreadOf(rounds.map(ratio))
}

/** What a yardstick that prints one JSON line says of its own seconds, without its start and loading. */
export function ownSeconds(run: Run): number {
  const { seconds } = JSON.parse(run.stdout) as { seconds?: unknown }
  if (typeof seconds !== 'number') throw new Error(`no seconds in ${run.stdout}`)
  return seconds
}
