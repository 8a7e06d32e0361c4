import { backupCommand } from './backup-command.js'
import { catCommand } from './cat-command.js'
import { cbtCommand } from './cbt-command.js'
import type { Command } from './command.js'
import { completionCommand } from './completion-command.js'
import { diffCommand } from './diff-command.js'
import { helpCommand } from './help-command.js'
import { initCommand } from './init-command.js'
import { listCommand } from './list-command.js'
import { rebuildIndexCommand } from './rebuild-index-command.js'
import { restoreCommand } from './restore-command.js'
import { showCommand } from './show-command.js'
import { verifyCommand } from './verify-command.js'

/**
 * Every command, in the order of the help. The files of commands are light: each loads its
 * operation, and with it the native addon, only when it runs.
 */
export const COMMANDS: readonly Command[] = [
  initCommand,
  backupCommand,
  restoreCommand,
  catCommand,
  listCommand,
  showCommand,
  diffCommand,
  cbtCommand,
  verifyCommand,
  rebuildIndexCommand,
  completionCommand,
  helpCommand,
]
