/**
 * Names of qcow2 images: `qcow2:FILE`. A path without it is read as it is, whatever it begins with: a
 * guest may write the header of an image to its raw disk, and must not choose what is opened by it.
 */
import { MoverError } from './errors.js'

const PREFIX = 'qcow2:'

/** Whether `name` means the disk in a qcow2 image. */
export function isQcow2Name(name: string): boolean {
  return name.startsWith(PREFIX)
}

/** The path of the image. Throws ARGUMENT_INVALID where none is named. */
export function qcow2PathOf(name: string): string {
  const path = name.slice(PREFIX.length)
  if (path !== '') return path
  throw new MoverError('ARGUMENT_INVALID', `'${name}' names no image: write qcow2:FILE`)
}
