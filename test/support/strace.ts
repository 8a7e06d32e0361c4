/** System calls of a program, as strace saw them: what it asked of the disk, and in which order. */
import { readFile } from 'node:fs/promises'

/** One call: `began` and `ended` are places in the trace, since calls of several threads overlap. */
export interface SystemCall {
  readonly name: string
  /** Everything between the brackets, with descriptors written as `20</path>`. */
  readonly args: string
  /** What it returned; null of a call that never did. */
  readonly answer: number | null
  readonly began: number
  readonly ended: number
}

/** The strace command that writes these calls of a program and all its threads to `file`. */
export function straceOf(file: string, calls: readonly string[]): string[] {
  return ['strace', '-f', '-y', '-qq', '-s', '40', '-o', file, '-e', `trace=${calls.join(',')}`]
}

/** The strace command that kills a program outright when a thread of it makes a call for the nth time. */
export function killAt(call: string, nth: number): string[] {
  const inject = `inject=${call}:signal=SIGKILL:when=${nth}`
  return ['strace', '-f', '-qq', '-o', '/dev/null', '-e', `trace=${call}`, '-e', inject]
}

/** Reads a trace that `straceOf` made; the calls come in the order in which they began. */
export async function readTrace(file: string): Promise<SystemCall[]> {
  const calls: SystemCall[] = []
  const underWay = new Map<string, { place: number; name: string; args: string }>()
  const lines = (await readFile(file, 'utf8')).split('\n')
  for (const [place, line] of lines.entries()) {
    const [, thread = '', rest = ''] = /^(\d+) +(.*)$/.exec(line) ?? []
    const begun = /^(\w+)\((.*) <unfinished \.\.\.>$/.exec(rest)
    const resumed = /^<\.\.\. (\w+) resumed>(.*)$/.exec(rest)
    const whole = /^(\w+)\((.*)$/.exec(rest)
    if (begun !== null) {
      underWay.set(thread, { place, name: begun[1] ?? '', args: begun[2] ?? '' })
    } else if (resumed !== null) {
      const first = underWay.get(thread)
      underWay.delete(thread)
      if (first === undefined) throw new Error(`line ${place} of the trace ends what never began`)
      calls.push(callOf(first.name, first.args + (resumed[2] ?? ''), first.place, place))
    } else if (whole !== null) {
      calls.push(callOf(whole[1] ?? '', whole[2] ?? '', place, place))
    }
  }
  return calls.sort((a, b) => a.began - b.began)
}

function callOf(name: string, text: string, began: number, ended: number): SystemCall {
  const [, args = text, answer] = /^(.*)\) += (-?\d+)/.exec(text) ?? []
  return { name, args, answer: answer === undefined ? null : Number(answer), began, ended }
}

/** The path of the descriptor that is a call's first argument. */
export function descriptorPath({ args }: SystemCall): string {
  return /^\d+<([^>]*)>/.exec(args)?.[1] ?? ''
}

/** The quoted paths among a call's arguments. */
export function quotedPaths({ args }: SystemCall): string[] {
  return [...args.matchAll(/"([^"]*)"/g)].map(([, path]) => path ?? '')
}
