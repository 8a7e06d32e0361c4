import { formatBytes } from '../core/units.js'
import type { RepositoryInfo } from '../repository.js'
import { defineCommand } from './command.js'
import { EXIT_CODES } from './exit-codes.js'
import { given } from './given.js'
import { parseCodec, parseSize } from './option-values.js'
import { printable, shellWord } from './printable.js'
import { repositoryPathOf } from './repository-of.js'
import { alignFields } from './table.js'

export const initCommand = defineCommand({
  name: 'init',
  summary: 'make a repository',
  notes: [
    'A repository is a folder that is empty or not there yet, on a file system with hard links. ' +
      'Chunk size, codec and pack size are chosen once and hold for all its volumes.',
  ],
  operands: {
    repository: {
      label: 'REPOSITORY',
      optional: true,
      completes: 'folder',
      help: 'the folder; by default what --repo or MOVER_REPOSITORY names',
    },
  },
  options: {
    chunk: {
      value: 'BYTES',
      parse: parseSize,
      help: 'chunk size, a power of two from 16KiB to 4MiB; 64KiB by default, as trackers count',
    },
    codec: {
      value: 'lz4|zstd[:LEVEL]|none',
      parse: parseCodec,
      choices: ['lz4', 'zstd', 'none'],
      help: 'compression; lz4 by default. zstd has levels 1 to 19, 3 by default',
    },
    pack: {
      value: 'BYTES',
      parse: parseSize,
      help: 'size of the objects that chunks are kept in, 1MiB to 64MiB; 16MiB by default',
    },
  },
  examples: [
    { line: 'mover init /backup/vms', says: 'a repository with the defaults' },
    { line: 'mover init /backup/vms --codec zstd:6', says: 'smaller, for more processor time' },
  ],
  whenCancelled: 'the repository may be half made: remove the folder before the next try',

  async run({ options, operands, repositoryPath, report }) {
    const path = operands.repository ?? repositoryPathOf({ repositoryPath })
    const { initRepository } = await import('../repository.js')
    const info = await initRepository(
      path,
      given({ chunkBytes: options.chunk, packBytes: options.pack, ...options.codec }),
    )
    await report.result({ operation: 'init', ...info }, { summary: initSummary(info) })
    return EXIT_CODES.done
  },
})

/** What was made, and what to do with it. */
function initSummary(info: RepositoryInfo): readonly string[] {
  return [
    ...alignFields([
      ['repository', printable(info.path)],
      ['id', info.id],
      ['chunk', formatBytes(info.chunkBytes)],
      ['codec', info.codec === 'zstd' ? `zstd, level ${info.level}` : info.codec],
      ['pack', formatBytes(info.packBytes)],
    ]),
    '',
    `next: mover backup SOURCE --volume NAME --repo ${shellWord(info.path)}`,
  ]
}
