import type { OptionTable } from './command.js'
import { parseCount, parseRate, parseSize } from './option-values.js'

/** What one job may take of the machine. */
export const BUDGET_OPTIONS = {
  workers: {
    value: 'N',
    parse: parseCount,
    help: 'worker threads, 1 to 256; by default one a core up to 8, fewer for small jobs',
  },
  rate: {
    value: 'BYTES/s',
    parse: parseRate,
    help: 'read no faster than this: 100MiB/s; by default as fast as it goes',
  },
  'in-flight': {
    value: 'BYTES',
    parse: parseSize,
    help: 'memory for what is being read, packed and written: 16MiB or more; 128MiB by default',
  },
} as const satisfies OptionTable
