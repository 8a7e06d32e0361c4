/**
 * Protects a domain of libvirt: all of its disks, as they are at one moment, by what changed since the
 * last time. Then the new states are verified. Without a time once, for cron or a systemd timer; with a
 * time every day, until it is stopped.
 *
 *   node protect-domain.js REPOSITORY libvirt:DOMAIN SCRATCH [HH:MM]
 */
import { setTimeout as sleep } from 'node:timers/promises'
import {
  backupMachine,
  initRepository,
  MoverError,
  openMachine,
  openRepository,
  verify,
  type Repository,
} from 'mover'

const [path = '', domain = '', scratch = '', time] = process.argv.slice(2)
/** Somebody else may be at the domain, or it is just being started: worth another try. */
const TRIES = 5
const PAUSE_MS = 60_000

const stopped = new AbortController()
for (const signal of ['SIGINT', 'SIGTERM'] as const) process.once(signal, () => stopped.abort())
const { signal } = stopped

/** One backup of all disks. Tracking goes on only from what is committed: a try that fails costs nothing. */
async function protect(repository: Repository): Promise<void> {
  await using machine = await openMachine(domain, { scratch, signal })
  const volume = decodeURIComponent(domain.replace(/^libvirt:|[/?].*$/g, ''))
  await using job = backupMachine({ machine, repository, volume, signal })
  for await (const event of job.events) {
    if (event.type !== 'fallback' && event.type !== 'warning') continue
    console.error(event.disk === undefined ? event.message : `${event.disk}: ${event.message}`)
  }
  const { disks } = await job.result
  for (const { volume: name, mode, manifest, bytes } of disks) {
    console.log(`${name}: ${mode} ${manifest}, read ${bytes.read}, stored ${bytes.stored}`)
  }
  const manifests = disks.flatMap(({ manifest }) => manifest ?? [])
  await using check = verify({ repository, manifests, signal })
  const { damage } = await check.result
  for (const { kind, name, message } of damage) console.error(`${kind} ${name}: ${message}`)
  if (damage.length > 0) throw new Error('the repository is damaged')
}

async function protectPatiently(): Promise<void> {
  await initRepository(path).catch(error => {
    if (!(error instanceof MoverError) || error.code !== 'REPOSITORY_EXISTS') throw error
  })
  await using repository = await openRepository(path)
  for (let tries = 1; ; tries += 1) {
    try {
      return await protect(repository)
    } catch (error) {
      if (!(error instanceof MoverError)) throw error
      console.error(`${error.code}: ${error.message}\n${error.remedy ?? ''}`)
      if (!error.retryable || tries === TRIES) throw error
    }
    await sleep(PAUSE_MS, null, { signal })
  }
}

/** Milliseconds until the clock shows HH:MM again. */
function untilNext(clock: string): number {
  const [hours = 0, minutes = 0] = clock.split(':').map(Number)
  const next = new Date()
  next.setHours(hours, minutes, 0, 0)
  if (next.getTime() <= Date.now()) next.setDate(next.getDate() + 1)
  return next.getTime() - Date.now()
}

try {
  if (time === undefined) await protectPatiently()
  while (time !== undefined) {
    console.log(`waits until ${time}`)
    await sleep(untilNext(time), null, { signal })
    // A night that fails is told, and the next one tries again, from the last good state.
    await protectPatiently().catch(error => {
      if (signal.aborted) throw error
      console.error(error)
    })
  }
} catch (error) {
  // To be stopped is how a daily run ends; a single one that is stopped has not done what it was to do.
  if (time === undefined || !signal.aborted) process.exitCode = 1
  if (!signal.aborted && !(error instanceof MoverError)) throw error
}
