import { MoverError } from '../core/errors.js'
import type { RestoreDomainResult } from '../restore-domain.js'
import type { RestoreResult } from '../restore.js'
import type { ForceReason } from '../target/target-guard.js'
import { BUDGET_OPTIONS } from './budget-options.js'
import { catToStdout } from './cat-command.js'
import {
  defineCommand,
  type Context,
  type OperandSpec,
  type OptionTable,
  type OptionValues,
} from './command.js'
import { EXIT_CODES } from './exit-codes.js'
import { followJob } from './follow-job.js'
import { given } from './given.js'
import { MANIFEST_OPERAND } from './manifest-operand.js'
import { parseText, parseWordOf } from './option-values.js'
import { openRepositoryOf } from './repository-of.js'
import { restoreDomainSummary } from './restore-domain-summary.js'
import { restoreSummary } from './restore-summary.js'

/** Every refusal that may be lifted; the type makes the list complete. */
const FORCE_HELP: Readonly<Record<ForceReason, string>> = {
  exists: 'write over a file or into an image that is there',
  'in-use': 'write to a file that backs a loop device, or that a QEMU has open for writing',
  identity: 'write to a device that --identity does not name',
}

const FORCE_WORDS = Object.keys(FORCE_HELP) as readonly ForceReason[]

const OPTIONS = {
  onto: {
    value: 'MANIFEST|auto',
    parse: parseText,
    choices: ['auto'],
    help:
      'write only what differs from this state, which TARGET holds now; a sample of it is compared ' +
      'first. auto reads all of TARGET to find out',
  },
  force: {
    value: 'REASON',
    parse: parseWordOf(FORCE_WORDS),
    many: true,
    choices: FORCE_WORDS,
    help: `lift one refusal each: ${FORCE_WORDS.map(word => `${word} (${FORCE_HELP[word]})`).join(', ')}`,
  },
  identity: {
    value: 'ID',
    parse: parseText,
    help: 'refuse a device that has not this WWID or serial',
  },
  'read-back': { help: 'read TARGET again when it is flushed, past the cache, and compare' },
  'domain-xml': {
    value: 'FILE',
    parse: parseText,
    completes: 'file',
    help:
      'write all disks of the domain that MANIFEST is of, as they were at that moment, and into FILE a ' +
      'description from which libvirt defines it again. TARGET is then a folder, for DISK.qcow2 where it was ' +
      'an image, and DISK.raw',
  },
  disk: {
    value: 'DISK=TARGET',
    parse: parseDiskPlace,
    many: true,
    help: 'with --domain-xml, what one disk is to be written to: a file, a device, or qcow2:FILE',
  },
  ...BUDGET_OPTIONS,
  'dry-run': { help: 'say what would be written; write nothing' },
} as const satisfies OptionTable

export const restoreCommand = defineCommand({
  name: 'restore',
  summary: 'write a volume back: file, device, NBD volume or stdout',
  notes: [
    'A new file gets its name when it is whole and durable. A block device is refused while it is ' +
      'mounted, held, used as swap, too small, read-only or the one the repository is on; no --force ' +
      'lifts these. Of a larger device the rest is left as it is. After a failure the same command ' +
      'may be given again; with --domain-xml disks that are done stay, so name a folder of the ' +
      'domain alone, and empty it first. A volume on an NBD server is treated as a device is, but who else uses it ' +
      'only the server knows. qcow2:FILE is the disk in an image: one that is not there is made as a ' +
      'file is, and one that is there, and no program has open, is written into with --force=exists.',
  ],
  operands: {
    manifest: MANIFEST_OPERAND,
    target: {
      label: 'TARGET',
      completes: 'file',
      help:
        'a file that is made, a block device, the URI of an NBD volume, qcow2:FILE, or - for stdout, as ' +
        'cat does',
    },
  },
  options: OPTIONS,
  examples: [
    { line: 'mover restore vm-42/sda@latest vm42.img', says: 'to a new file' },
    {
      line: 'mover restore 3fa9c1d2e4b5 /dev/sdx --identity 0x5000c500a1b2c3d4 --read-back',
      says: 'to this LUN and no other, and read it again',
    },
    {
      line: 'mover restore vm-42/vda@latest /var/lib/libvirt/images/vm-42 --domain-xml vm-42.xml',
      says: 'a lost domain of libvirt; then virsh define vm-42.xml, virsh start vm-42',
    },
    {
      line: 'mover restore vm-42/sda@latest~1 vm42.img --onto vm-42/sda@latest --force=exists',
      says: 'back by one state, writing only what differs',
    },
  ],
  whenCancelled:
    'a new file was not made; a target that was there before holds a mixture until the restore is ' +
    'run again to its end',

  takesStdout: ({ target }) => target === '-',
  async run(context) {
    const { options, operands, report, signal } = context
    if (operands.target === '-') {
      refuseForStdout(options)
      return await catToStdout({ context, manifest: operands.manifest, range: undefined })
    }
    const domainXml = options['domain-xml']
    if (domainXml !== undefined) return await restoreWholeDomain(domainXml, context)
    if (options.disk.length > 0) {
      throw new MoverError('ARGUMENT_INVALID', '--disk means nothing without --domain-xml')
    }
    await using repository = await openRepositoryOf(context)
    const { restore } = await import('../restore.js')
    const job = restore({
      repository,
      manifest: operands.manifest,
      target: operands.target,
      force: options.force,
      readBack: options['read-back'],
      dryRun: options['dry-run'],
      signal,
      ...given({
        onto: options.onto,
        identity: options.identity,
        workers: options.workers,
        bytesPerSecond: options.rate,
        bytesInFlight: options['in-flight'],
      }),
    })
    const result: RestoreResult = await followJob(job, report)
    await report.result(result, { summary: restoreSummary(result) })
    return EXIT_CODES.done
  },
})

/** All disks of a domain, and its description. */
async function restoreWholeDomain(domainXml: string, context: RestoreContext): Promise<number> {
  const { options, operands, report, signal } = context
  const without = ['onto', 'identity', 'dry-run'] as const
  const other = without.find(name => options[name] !== undefined && options[name] !== false)
  if (other !== undefined) {
    throw new MoverError('ARGUMENT_INVALID', `--${other} means nothing with --domain-xml`)
  }
  await using repository = await openRepositoryOf(context)
  const { restoreDomain } = await import('../restore-domain.js')
  const job = restoreDomain({
    repository,
    manifest: operands.manifest,
    folder: operands.target,
    places: placesOf(options.disk),
    domainXml,
    force: options.force,
    readBack: options['read-back'],
    signal,
    ...given({
      workers: options.workers,
      bytesPerSecond: options.rate,
      bytesInFlight: options['in-flight'],
    }),
  })
  const result: RestoreDomainResult = await followJob(job, report)
  await report.result(result, { summary: restoreDomainSummary(result) })
  return EXIT_CODES.done
}

type RestoreContext = Context<typeof OPTIONS, { manifest: OperandSpec; target: OperandSpec }>

function parseDiskPlace(text: string): readonly [disk: string, place: string] {
  const [, disk, place] = /^(\w+)=(.+)$/s.exec(text) ?? []
  if (disk !== undefined && place !== undefined) return [disk, place]
  throw new MoverError('ARGUMENT_INVALID', `'${text}' is not DISK=TARGET`)
}

function placesOf(
  pairs: readonly (readonly [disk: string, place: string])[],
): Readonly<Record<string, string>> {
  const places = new Map(pairs)
  if (places.size === pairs.length) return Object.fromEntries(places)
  throw new MoverError('ARGUMENT_INVALID', 'one disk cannot go to two places')
}

/** What comes out of stdout comes in order, once, and cannot be read again. */
function refuseForStdout(options: OptionValues<typeof OPTIONS>): void {
  for (const [name, value] of Object.entries(options)) {
    const isGiven = Array.isArray(value) ? value.length > 0 : value !== undefined && value !== false
    if (!isGiven) continue
    throw new MoverError('ARGUMENT_INVALID', `--${name} means nothing for stdout`, {
      remedy: `leave out --${name}, or name a file or a block device`,
    })
  }
}
