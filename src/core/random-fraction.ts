import { randomInt } from 'node:crypto'

/** Uniform in [0, 1), from the system's generator: who can predict a sample can hide from it. */
export function randomFraction(): number {
  const range = 2 ** 47
  return randomInt(range) / range
}
