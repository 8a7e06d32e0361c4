import { MoverError } from '../core/errors.js'
import type { Repository } from '../repository.js'
import type { Context } from './command.js'

/** The path of the repository that the command works on. Throws ARGUMENT_INVALID when none is named. */
export function repositoryPathOf({ repositoryPath }: Pick<Context, 'repositoryPath'>): string {
  if (repositoryPath !== null) return repositoryPath
  throw new MoverError('ARGUMENT_INVALID', 'no repository is named', {
    remedy: 'add --repo REPOSITORY, or set MOVER_REPOSITORY',
  })
}

/** Opens the repository that the command works on. The library is loaded here, not before. */
export async function openRepositoryOf(
  context: Pick<Context, 'repositoryPath' | 'signal'>,
): Promise<Repository> {
  const path = repositoryPathOf(context)
  const { openRepository } = await import('../repository.js')
  return await openRepository(path, { signal: context.signal })
}
