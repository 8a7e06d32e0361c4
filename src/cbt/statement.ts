/** What the shapes of an extents file have in common: statements are flat JSON objects. */
import { MoverError } from '../core/errors.js'
import type { Extent, StatedExtent } from '../core/extent.js'

/** A statement as it was parsed. */
export type Statement = Readonly<Record<string, unknown>>

/** Reads one statement, the `number`th of its file counted from 1; CHANGES_MALFORMED if it is none. */
export type ReadStatement = (statement: Statement, number: number) => StatedExtent

/** Whether a JSON value is an object. */
export function isStatement(value: unknown): value is Statement {
  return typeof value === 'object' && value !== null && !Array.isArray(value)
}

/** The numbers of a statement, as they stand there: whether they make sense is seen in the whole. */
export function extentOf({ offset, length }: Statement, number: number): Extent {
  if (typeof offset === 'number' && typeof length === 'number') return { offset, length }
  throw malformed(`extent ${number} lacks a numeric offset or length`)
}

/** The error of every extents file that is not one. */
export function malformed(why: string, cause?: unknown): MoverError {
  return new MoverError('CHANGES_MALFORMED', why, { stage: 'plan', cause })
}
