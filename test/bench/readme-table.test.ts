import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import t from 'tap'
import { withFigures } from '../../bench/harness/readme-table.js'
import { readResults } from '../../bench/harness/results.js'
import { PART_NAMES } from '../../bench/parts.js'
import { projectFolder } from '../support/project-folder.js'

const readme = readFileSync(join(projectFolder, 'README.md'), 'utf8')
const results = readResults(join(projectFolder, 'bench', 'results'), PART_NAMES)

t.test('the figures of README are those of bench/results', async t => {
  t.not(results.length, 0)
  t.equal(withFigures(readme, results), readme, 'else: npm run bench -- --readme')
})

t.test('a README without a place for them is an error', async t => {
  t.throws(() => withFigures('nothing', results), /no place/)
})
