import type { BackupResult } from '../backup.js'
import { MoverError } from '../core/errors.js'
import { backUpMachine, refuseStrayOptions } from './backup-of-machine.js'
import { backupSummary } from './backup-summary.js'
import { BUDGET_OPTIONS } from './budget-options.js'
import { defineCommand } from './command.js'
import { EXIT_CODES } from './exit-codes.js'
import { followJob } from './follow-job.js'
import { given } from './given.js'
import { parseAudit, parseSize, parseTag, parseText, tagsOf } from './option-values.js'
import { openRepositoryOf } from './repository-of.js'

export const backupCommand = defineCommand({
  name: 'backup',
  summary: 'back a volume up: in full, by what changed, or by comparing',
  notes: [
    'SOURCE is read as it is: freeze it first, with a snapshot. Only what the repository does not ' +
      'hold yet is stored, whatever the mode. Without --changes the whole volume is read and ' +
      'compared with the newest manifest of the volume (a rescan), or backed up in full when there ' +
      'is none.',
    'SOURCE qcow2:FILE is the disk in a qcow2 image that no program has open for writing; qemu-nbd ' +
      'reads it, and is started and ended with the backup. A path alone is read as it is, whatever it ' +
      'begins with: a guest may write the header of an image to a raw disk.',
    'CHANGES says what was written since the parent: bitmap:FILE,granularity=64KiB is a raw bitmap, ' +
      'least significant bit first; extents:FILE is what mover diff --json, nbdinfo --map --json or ' +
      'rbd diff --format json print; an NBD URI with ,bitmap=NAME is a dirty bitmap of QEMU, whether ' +
      'SOURCE is on the same server or is the device itself; qcow2:FILE,bitmap=NAME is one that is ' +
      'kept in an image, of SOURCE or of the device whose bitmaps it keeps. Each may end in ' +
      ',since=REF: the parent is then the manifest that was made with --checkpoint REF. Without ' +
      'since, --parent must give the id of the manifest that the map counts from: latest or full ' +
      'will not do, because another backup may come between. A map that cannot be believed, such as ' +
      'after a resize, makes the backup a rescan, which says so. --parent full beside since=REF makes ' +
      'a differential backup, where REF is the checkpoint of the newest full one.',
    'Where SOURCE is qmp:PATH/NODE, a disk of a running QEMU, mover freezes it, reads what was written ' +
      'since its last backup, and keeps track from there on by itself, while the guest goes on. ' +
      'qmp:PATH/NODE,NODE freezes several disks at one moment; each is kept as NAME/NODE. When ' +
      'tracking was lost, as by a crash of QEMU, that disk is read whole, and the result says so.',
    'SOURCE libvirt:DOMAIN is every disk of a domain of libvirt, kept as NAME/DISK; libvirt:DOMAIN/vda ' +
      'is one, kept as NAME, and vda,vdb are some. The domain may run or not. Its description is kept ' +
      'with the disks, and mover restore --domain-xml gives both back. Another libvirt than the ' +
      "system's: ?socket=PATH behind it.",
  ],
  operands: {
    source: {
      label: 'SOURCE',
      completes: 'file',
      help: 'a regular file, a block device, the URI of an NBD volume, qcow2:FILE, qmp:PATH/NODE or libvirt:DOMAIN',
    },
  },
  options: {
    volume: {
      value: 'NAME',
      parse: parseText,
      required: true,
      help: 'the name that the volume is kept under: vm-42/sda',
    },
    changes: {
      value: 'CHANGES',
      parse: parseText,
      completes: 'file',
      help: 'read only what this map calls changed, and a sample of the rest',
    },
    parent: {
      value: 'MANIFEST',
      parse: parseText,
      help: 'what to build on; by default since=REF of CHANGES, else the newest of the volume',
    },
    checkpoint: {
      value: 'REF',
      parse: parseText,
      help: 'name of the checkpoint that SOURCE shows, for a later since=REF',
    },
    full: { help: 'read everything and build on nothing' },
    audit: {
      value: 'default|PERCENT|off',
      parse: parseAudit,
      choices: ['default', 'off'],
      help:
        'how much of what CHANGES calls clean is read to test it: by default 256 chunks and 5 % ' +
        'as many as are read, at most 16,384',
    },
    ...BUDGET_OPTIONS,
    scratch: {
      value: 'FOLDER',
      parse: parseText,
      completes: 'folder',
      help:
        'where the bytes are kept that a running machine overwrites during its backup; its QEMU has ' +
        'to see it; /var/tmp by default for qmp:; for libvirt: it has to be named',
    },
    'scratch-bytes': {
      value: 'BYTES',
      parse: parseSize,
      help:
        'room there for each disk: reserved for qmp:, required to be free for libvirt:; by default as ' +
        'much as the disk has, of which libvirt: only warns',
    },
    'nbd-socket': {
      value: 'SOCKET',
      parse: parseText,
      completes: 'file',
      help: 'the Unix socket of the NBD server that already runs in the QEMU of qmp:',
    },
    tag: {
      value: 'NAME=VALUE',
      parse: parseTag,
      many: true,
      help: 'kept with the manifest; may be given several times',
    },
    'read-holes': { help: 'read the holes of a file instead of taking them for zeroes' },
    'dry-run': {
      help: 'say what would be read; read nothing of the volume, write nothing; not of a machine',
    },
  },
  examples: [
    { line: 'mover backup /dev/vg0/snap --volume vm-42/sda', says: 'in full, later by comparing' },
    {
      line: 'mover backup /dev/vg0/snap --volume vm-42/sda --checkpoint monday',
      says: 'the same, and remember that the tracker counts from here as "monday"',
    },
    {
      line: "mover backup 'nbd+unix:///sda?socket=/run/vm-42.nbd' --volume vm-42/sda",
      says: 'what qemu-nbd or another NBD server serves; nbd://HOST:PORT/EXPORT over TCP',
    },
    {
      line:
        'mover backup /dev/vg0/snap --volume vm-42/sda \\\n' +
        '      --changes bitmap:dirty.bin,granularity=64KiB,since=monday --checkpoint tuesday',
      says: 'read only what was written since then',
    },
    {
      line:
        'mover backup qmp:/run/vm-42.qmp/disk0,disk1 --volume vm-42 \\\n' +
        '      --scratch /srv/scratch',
      says: 'two disks of a running QEMU at one moment, in full, then always what changed',
    },
    {
      line: 'mover backup libvirt:vm-42 --volume vm-42 --scratch /var/tmp',
      says: 'all disks of a domain at one moment, and what it takes to define it again',
    },
    {
      line:
        'mover backup qcow2:vm42.qcow2 --volume vm-42/sda \\\n' +
        '      --changes qcow2:vm42.qcow2,bitmap=monday,since=monday --checkpoint tuesday',
      says: 'an image, by the bitmap that QEMU left in it',
    },
  ],
  whenCancelled:
    'nothing was committed; chunks already published will be reused by the next backup',

  async run(context) {
    const { options, operands, report, signal } = context
    refuseContradictions(options)
    const { isMachineName } = await import('../open-machine.js')
    const isMachine = isMachineName(operands.source)
    refuseStrayOptions(options, isMachine)
    const tags = tagsOf(options.tag)
    await using repository = await openRepositoryOf(context)
    const { volume, full } = options
    const request = {
      ...{ repository, volume, full, signal, tags },
      ...given({
        audit: options.audit,
        workers: options.workers,
        bytesPerSecond: options.rate,
        bytesInFlight: options['in-flight'],
      }),
    }
    if (isMachine) {
      await backUpMachine(operands.source, { ...context, request })
      return EXIT_CODES.done
    }
    const changes = await changesOf(options.changes)
    const { backup } = await import('../backup.js')
    const job = backup({
      ...request,
      source: operands.source,
      changes,
      readHoles: options['read-holes'],
      dryRun: options['dry-run'],
      ...given({ parent: options.parent, checkpoint: options.checkpoint }),
    })
    const result: BackupResult = await followJob(job, report)
    await report.result(result, {
      summary: backupSummary(result, context.repositoryOption),
      bare: result.manifest === null ? [] : [result.manifest],
    })
    return EXIT_CODES.done
  },
})

function refuseContradictions(options: {
  readonly full: boolean
  readonly parent: string | undefined
  readonly changes: string | undefined
}): void {
  if (!options.full) return
  const other =
    options.parent !== undefined ? 'parent' : options.changes !== undefined ? 'changes' : null
  if (other === null) return
  throw new MoverError(
    'ARGUMENT_INVALID',
    `--full builds on nothing, so --${other} contradicts it`,
    {
      remedy: `leave out --full or --${other}`,
    },
  )
}

async function changesOf(spec: string | undefined) {
  if (spec === undefined) return null
  const { openChanges } = await import('../source/open-changes.js')
  return await openChanges(spec)
}
