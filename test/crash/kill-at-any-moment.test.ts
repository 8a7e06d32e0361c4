/**
 * Backups killed at moments that nobody chose, with worker threads and without: in a repository
 * each, and again and again in one, in which what they leave comes together.
 */
import t from 'tap'
import { makeCrashScene } from '../support/crash-scene.js'
import { seededRandom } from '../support/random.js'
import { MiB } from '../support/volumes.js'

const SEED = 21
const KILLS = 14

t.test(`killed at any moment, seed ${SEED}`, async t => {
  const scene = await makeCrashScene(t, t.testdir({}), { bytes: 24 * MiB, seed: SEED })
  const random = seededRandom(SEED)
  const whole = await scene.copy('whole')
  const began = performance.now()
  t.equal((await scene.run(whole, {})).code, 0)
  const wholeMs = performance.now() - began
  await scene.clear('whole')
  // The first part of a run is Node's own start.
  const moment = () => Math.round(wholeMs * (0.3 + 0.7 * random()))

  const often = await scene.copy('often')
  for (let kill = 1; kill <= KILLS; kill += 1) {
    const options = { killAfterMs: moment(), ...(kill % 3 === 0 ? { workers: 2 } : {}) }
    await t.test(`kill ${kill}, after ${options.killAfterMs} ms`, async t => {
      const once = await scene.copy(`kill-${kill}`)
      const runs = await Promise.all([once, often].map(path => scene.run(path, options)))
      for (const { code, signal } of runs) {
        t.ok(code === 0 || signal === 'SIGKILL', 'a run is killed, or has ended before')
      }
      await scene.checkAfterCrash(t, once)
      await scene.clear(`kill-${kill}`)
    })
  }
  await t.test('all of them in one repository', t => scene.checkAfterCrash(t, often))
})
