/**
 * Remembers what each step of the set-up was made from, so that the next run can see in a few
 * milliseconds that there is nothing to do. The stamp lies in node_modules: who deletes that starts anew.
 */
import { mkdirSync, readdirSync, readFileSync, statSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'

/**
 * The sizes and times of these files, and of all files below these folders, as one text. A file
 * that is not there is part of the picture too.
 *
 * @param {string} root
 * @param {readonly string[]} paths
 * @returns {string}
 */
export function pictureOf(root, paths) {
  const lines = []
  for (const path of paths) {
    const stat = statSync(join(root, path), { throwIfNoEntry: false })
    if (stat === undefined) lines.push(`${path} missing`)
    else if (stat.isDirectory()) lines.push(pictureOf(root, entriesOf(root, path)))
    else lines.push(`${path} ${stat.size} ${stat.mtimeMs}`)
  }
  return lines.join('\n')
}

/**
 * @param {string} root
 * @param {string} folder
 */
function entriesOf(root, folder) {
  return readdirSync(join(root, folder))
    .sort()
    .map(name => `${folder}/${name}`)
}

/**
 * @typedef {Record<string, string>} Stamp the picture of each step, by its name
 */

/**
 * The stamp of the last set-up; an empty one where there was none.
 *
 * @param {string} path
 * @returns {Stamp}
 */
export function readStamp(path) {
  try {
    return JSON.parse(readFileSync(path, 'utf8'))
  } catch {
    // Missing or cut: every step is done again, which is always right.
    return {}
  }
}

/**
 * @param {string} path
 * @param {Stamp} stamp
 */
export function writeStamp(path, stamp) {
  mkdirSync(join(path, '..'), { recursive: true })
  writeFileSync(path, JSON.stringify(stamp))
}
