/** @typedef {{ passed: number, failed: number, skipped: number }} Count */

/** Reads what tap prints, as it comes: shows a line for each file and each failure in full, and counts. */
export class TapLines {
  /** @type {string | null} */ #total = null
  #isFailure = false

  /** @param {string} line */
  read(line) {
    const [, file, time] = /^ok \d+ - build\/(\S+)\.js # time=([\d.]+)ms/.exec(line) ?? []
    if (file !== undefined)
      console.log(`ok       ${file}.ts, ${(Number(time) / 1000).toFixed(1)} s`)
    if (/^ *ok .* # SKIP/.test(line)) console.log(line.replace(/^ *ok \d+ - /, 'skipped  '))
    if (/^# \{ total: .*\}$/.test(line)) this.#total = line
    if (/^ *not ok /.test(line)) this.#isFailure = true
    if (this.#isFailure) console.log(line.replace(/^not ok/, 'NOT OK'))
    if (/^ *\.\.\.$/.test(line)) this.#isFailure = false
  }

  /**
   * @param {number | null} code of tap
   * @returns {Count}
   */
  count(code) {
    const of = /** @param {string} word */ word =>
      Number(new RegExp(`${word}: (\\d+)`).exec(this.#total ?? '')?.[1] ?? 0)
    const failed = of('fail')
    // tap can fail without a failed assertion: no tests, or a test that never ended.
    return {
      passed: of('pass'),
      failed: failed === 0 && code !== 0 ? 1 : failed,
      skipped: of('skip'),
    }
  }
}
