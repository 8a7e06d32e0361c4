import type { MoverEvent } from './core/progress.js'
import type { Repository } from './repository.js'
import type { Session } from './store/session.js'

/** Begins the session of a job, and warns of what it could not do. Throws what `beginSession` throws. */
export async function beginJobSession(
  repository: Repository,
  { kind, parent = null }: { readonly kind: 'read' | 'write'; readonly parent?: string | null },
  emit: (event: MoverEvent) => void,
): Promise<Session> {
  const session = await repository.beginSession(kind, parent)
  const { hidden, swept } = session
  if (hidden !== null) {
    const message = `nobody else can know of this reader: ${hidden.message}`
    emit({ type: 'warning', code: 'SESSION_HIDDEN', message })
  }
  for (const { message } of swept.failures) {
    emit({ type: 'warning', code: 'SWEEP_FAILED', message })
  }
  return session
}
