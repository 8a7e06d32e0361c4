/**
 * A backup killed at each of its calls to the disk, one run a call: SIGKILL arrives as the call is
 * made, so that everything before it has happened, and the call itself has not. One thread makes
 * all calls of Node's, so that their order is the same in every run.
 */
import { readdirSync } from 'node:fs'
import { join } from 'node:path'
import t, { type Test } from 'tap'
import { makeCrashScene, type CrashScene } from '../support/crash-scene.js'
import { killAt } from '../support/strace.js'
import { MiB } from '../support/volumes.js'

const SEED = 11

/** The calls of which each is a step on the way to the commit. */
const CALLS = ['link', 'fsync', 'fdatasync', 'unlink', 'pwrite64']

t.test(`killed at each call to the disk, seed ${SEED}`, async t => {
  const scene = await makeCrashScene(t, t.testdir({}), { bytes: 3 * MiB, seed: SEED })
  t.jobs = 2
  for (const call of CALLS) {
    t.test(call, async t => {
      let kills = 0
      while (await dies(t, scene, { call, nth: kills + 1 })) kills += 1
      t.ok(kills > 0, `${call} was never made`)
      t.comment(`${kills} kills`)
    })
  }
})

/** Kills one run; false when it came to its end, because it makes fewer calls. */
async function dies(
  t: Test,
  scene: CrashScene,
  { call, nth }: { readonly call: string; readonly nth: number },
): Promise<boolean> {
  const name = `${call}-${nth}`
  const repository = await scene.copy(name)
  const under = killAt(call, nth)
  const { code, signal } = await scene.run(repository, { under, env: { UV_THREADPOOL_SIZE: '1' } })
  if (signal === null) t.equal(code, 0, 'a run that is not killed ends well')
  else {
    const segments = readdirSync(join(repository, 'index')).length
    await t.test(`${call} for the ${nth}. time`, async t => {
      const { bytes } = await scene.checkAfterCrash(t, repository)
      if (segments > 1) t.equal(bytes.stored, 0, 'what was published is not stored again')
    })
  }
  await scene.clear(name)
  return signal !== null
}
