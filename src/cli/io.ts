/** A stream that text is printed on: process.stdout, or a test's. */
export interface TextStream {
  write(text: string, done: (error?: Error | null) => void): boolean
  on(event: 'error', listener: (error: Error) => void): unknown
  off(event: 'error', listener: (error: Error) => void): unknown
  readonly isTTY?: boolean
  readonly columns?: number
}

/** The part of the process that hears signals and bugs. */
export interface Host {
  on(event: NodeJS.Signals, listener: (signal: NodeJS.Signals) => void): unknown
  on(event: 'uncaughtException', listener: (error: Error) => void): unknown
  off(event: NodeJS.Signals, listener: (signal: NodeJS.Signals) => void): unknown
  off(event: 'uncaughtException', listener: (error: Error) => void): unknown
  exit(code: number): unknown
}

/** Everything the command line touches of its process, so that a test can give it another. */
export interface Io {
  readonly stdout: TextStream
  /** The descriptor behind stdout, on which native code writes a volume's bytes. */
  readonly stdoutDescriptor: number
  readonly stderr: TextStream
  readonly environment: Readonly<Record<string, string | undefined>>
  readonly host: Host
}

/** The process itself. */
export function processIo(): Io {
  return {
    stdout: process.stdout,
    stdoutDescriptor: 1,
    stderr: process.stderr,
    environment: process.env,
    host: process,
  }
}
