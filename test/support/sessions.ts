import { spawn } from 'node:child_process'
import type { ChildProcess } from 'node:child_process'
import { once } from 'node:events'
import { fileURLToPath } from 'node:url'

/** Another process that holds a session, with a temporary file, until it is killed. */
export interface OtherProcess {
  readonly sessionId: string
  readonly child: ChildProcess
  /** Kills it as a crash would: nothing of it runs any more. */
  kill(): Promise<void>
}

/** Starts a process that begins a session in the repository and then waits. */
export async function startOtherProcess(root: string): Promise<OtherProcess> {
  const program = fileURLToPath(new URL('./session-holder.js', import.meta.url))
  const child = spawn(process.execPath, [program, root], { stdio: ['pipe', 'pipe', 'inherit'] })
  const [line] = (await once(child.stdout.setEncoding('utf8'), 'data')) as [string]
  return {
    sessionId: line.trim(),
    child,
    async kill() {
      const exited = once(child, 'exit')
      child.kill('SIGKILL')
      await exited
    },
  }
}
