import { execFileSync } from 'node:child_process'
import t from 'tap'
import { localTime } from '../../src/cli/local-time.js'

t.test('a time is local, and says how far that is from UTC', async t => {
  // The time zone of a process is fixed when it starts, so each row is a process.
  const rows = [
    { zone: 'UTC', ms: 0, shown: '1970-01-01T00:00:00+00:00' },
    { zone: 'Asia/Kolkata', ms: 1_700_000_000_000, shown: '2023-11-15T03:43:20+05:30' },
    { zone: 'America/St_Johns', ms: 1_700_000_000_000, shown: '2023-11-14T18:43:20-03:30' },
  ]
  for (const { zone, ms, shown } of rows) {
    const script = `import(${JSON.stringify(new URL('../../src/cli/local-time.js', import.meta.url).href)})
      .then(({ localTime }) => process.stdout.write(localTime(${ms})))`
    const output = execFileSync(process.execPath, ['-e', script], {
      env: { TZ: zone },
      encoding: 'utf8',
    })
    t.equal(output, shown, zone)
  }
  t.match(localTime(0), /^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d[+-]\d\d:\d\d$/)
})
