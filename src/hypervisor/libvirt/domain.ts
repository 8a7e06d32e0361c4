/** What is asked of one domain. Structs are those of libvirt's src/remote/remote_protocol.x. */
import { setTimeout as sleep } from 'node:timers/promises'
import type { AbortOptions } from '../../core/abort.js'
import { MoverError } from '../../core/errors.js'
import type { LibvirtConnection } from './connection.js'
import { isLibvirtError, LIBVIRT_ERRORS } from './libvirt-error.js'
import type { Procedure } from './procedures.js'
import { XdrWriter, type XdrReader } from './xdr.js'

/** VIR_DOMAIN_XML_INACTIVE: as it is defined, not as it runs. */
const XML_INACTIVE = 2
/** VIR_DOMAIN_CHECKPOINT_LIST_TOPOLOGICAL: parents before their children. */
const LIST_TOPOLOGICAL = 2
/** VIR_DOMAIN_CHECKPOINT_XML_NO_DOMAIN: the domain's own XML is large, and not asked for. */
const CHECKPOINT_XML_NO_DOMAIN = 2
/** VIR_DOMAIN_CHECKPOINT_XML_SIZE: with what was written since, of each disk whose bitmaps are whole. */
const CHECKPOINT_XML_SIZE = 4
/** VIR_DOMAIN_CHECKPOINT_DELETE_METADATA_ONLY: its bitmaps stay, or are gone already. */
const DELETE_METADATA_ONLY = 2

/** enum virDomainState: what else than these two there is, is running in some way. */
const SHUTOFF = 5
const CRASHED = 6

const UUID_BYTES = 16
/** A checkpoint takes a name, and its domain a name, a UUID and a number. */
const CHECKPOINT_BYTES_MIN = 4 + 4 + UUID_BYTES + 4

const LISTINGS_MAX = 20
const LISTING_PAUSE_MS = 100

/** As libvirt names a domain: remote_nonnull_domain. */
export interface DomainName {
  readonly name: string
  readonly uuid: Buffer
  /** −1 where it does not run. */
  readonly id: number
}

/** Sizes of a disk: of the guest's view, and of what lies on the host. */
export interface BlockInfo {
  readonly allocation: number
  readonly capacity: number
  readonly physical: number
}

/** The job that a domain is busy with, by libvirt's own names of its fields. */
export interface JobStats {
  /** enum virDomainJobType: 0 none, 1 with an end, 2 without, 3 done, 4 failed, 5 cancelled. */
  readonly type: number
  readonly fields: ReadonlyMap<string, number | string>
}

/** Which state of a domain, and why; `isActive` where QEMU runs for it. */
export interface DomainState {
  readonly state: number
  readonly isActive: boolean
}

/** A domain of an open connection. */
export class Domain {
  readonly name: string
  /** As people write it, with dashes. */
  readonly uuid: string
  readonly #connection: LibvirtConnection
  readonly #domain: DomainName

  private constructor(connection: LibvirtConnection, domain: DomainName) {
    this.#connection = connection
    this.#domain = domain
    this.name = domain.name
    this.uuid = uuidText(domain.uuid)
  }

  /** Finds a domain by its name, or else by its UUID. HYPERVISOR_REFUSED where there is none. */
  static async lookup(
    connection: LibvirtConnection,
    name: string,
    options?: AbortOptions,
  ): Promise<Domain> {
    const doing = `find domain '${name}'`
    const byName = new XdrWriter().string(name)
    try {
      const answer = await connection.call({
        procedure: 'domainLookupByName',
        doing,
        args: byName,
        ...options,
      })
      return new Domain(connection, domainOf(answer))
    } catch (error) {
      const uuid = uuidBytes(name)
      if (uuid === null || !isLibvirtError(error, LIBVIRT_ERRORS.noDomain)) throw error
      const args = new XdrWriter().opaque(uuid)
      const answer = await connection.call({
        procedure: 'domainLookupByUuid',
        doing,
        args,
        ...options,
      })
      return new Domain(connection, domainOf(answer))
    }
  }

  /** Its description as it runs, or with `isInactive` as it is defined. Passwords are left out. */
  async xml({ isInactive }: { readonly isInactive: boolean }): Promise<string> {
    const args = this.#args().uint(isInactive ? XML_INACTIVE : 0)
    return this.#text('domainGetXmlDesc', 'read its description', args)
  }

  async state(options?: AbortOptions): Promise<DomainState> {
    const answer = await this.#call('domainGetState', 'ask for its state', {
      args: this.#args().uint(0),
      ...options,
    })
    const state = answer.int()
    return { state, isActive: state !== SHUTOFF && state !== CRASHED }
  }

  /** Of the QEMU that libvirt starts: major × 1,000,000 + minor × 1,000 + release. */
  async hypervisorVersion(options?: AbortOptions): Promise<number> {
    const answer = await this.#connection.call({
      procedure: 'connectGetVersion',
      doing: 'ask for the version of QEMU',
      ...options,
    })
    return answer.ulong()
  }

  async isPersistent(): Promise<boolean> {
    const answer = await this.#call('domainIsPersistent', 'ask whether it is defined', {})
    return answer.int() === 1
  }

  async blockInfo(disk: string, options?: AbortOptions): Promise<BlockInfo> {
    const answer = await this.#call('domainGetBlockInfo', `ask for the size of ${disk}`, {
      args: this.#args().string(disk).uint(0),
      ...options,
    })
    const allocation = answer.ulong()
    return { allocation, capacity: answer.ulong(), physical: answer.ulong() }
  }

  /** Names of all checkpoints, parents before their children. */
  async checkpoints(options?: AbortOptions): Promise<string[]> {
    for (let tries = 1; ; tries += 1) {
      try {
        return await this.#checkpoints(options)
      } catch (error) {
        // libvirt trips over a checkpoint that is made at this very moment, and says nonsense.
        if (!isLibvirtError(error, LIBVIRT_ERRORS.invalidArgument) || tries === LISTINGS_MAX)
          throw error
        await sleep(LISTING_PAUSE_MS)
      }
    }
  }

  async #checkpoints(options?: AbortOptions): Promise<string[]> {
    const answer = await this.#call('domainListAllCheckpoints', 'list its checkpoints', {
      args: this.#args().int(1).uint(LIST_TOPOLOGICAL),
      ...options,
    })
    return answer.array(CHECKPOINT_BYTES_MIN, reader => {
      const name = reader.string()
      domainOf(reader)
      return name
    })
  }

  /**
   * The description of a checkpoint. With `hasSizes`, of a running domain, libvirt adds bitmaps up in a
   * temporary one, which is gone by the answer.
   */
  async checkpointXml(
    name: string,
    { hasSizes = false }: { readonly hasSizes?: boolean } = {},
  ): Promise<string> {
    const flags = CHECKPOINT_XML_NO_DOMAIN + (hasSizes ? CHECKPOINT_XML_SIZE : 0)
    const args = this.#checkpoint(name).uint(flags)
    return this.#text('domainCheckpointGetXmlDesc', `read checkpoint ${name}`, args)
  }

  /**
   * Deletes a checkpoint: what its bitmaps counted then counts for its parent. Where the bitmaps are
   * gone, libvirt refuses; `isMetadataOnly` then deletes what it remembers.
   */
  async deleteCheckpoint(
    name: string,
    { isMetadataOnly = false }: { readonly isMetadataOnly?: boolean } = {},
  ): Promise<void> {
    await this.#call('domainCheckpointDelete', `delete checkpoint ${name}`, {
      args: this.#checkpoint(name).uint(isMetadataOnly ? DELETE_METADATA_ONLY : 0),
    })
  }

  /** Begins a backup job; the checkpoint is made at the moment that it shows. */
  async beginBackup({
    backupXml,
    checkpointXml,
  }: {
    readonly backupXml: string
    readonly checkpointXml: string | null
  }): Promise<void> {
    await this.#call('domainBackupBegin', 'begin a backup job', {
      args: this.#args().string(backupXml).optionalString(checkpointXml).uint(0),
    })
  }

  /** The backup job that is under way; null where there is none. */
  async backupXml(): Promise<string | null> {
    try {
      return await this.#text(
        'domainBackupGetXmlDesc',
        'ask for its backup job',
        this.#args().uint(0),
      )
    } catch (error) {
      if (isLibvirtError(error, LIBVIRT_ERRORS.noDomainBackup)) return null
      throw error
    }
  }

  async jobStats(): Promise<JobStats> {
    const answer = await this.#call('domainGetJobStats', 'ask for its job', {
      args: this.#args().uint(0),
    })
    const type = answer.int()
    const fields = answer.array(TYPED_PARAMETER_BYTES_MIN, typedParameter)
    return { type, fields: new Map(fields) }
  }

  /** Ends the job that is under way. */
  async abortJob(): Promise<void> {
    await this.#call('domainAbortJob', 'end its job', {})
  }

  #args(): XdrWriter {
    const { name, uuid, id } = this.#domain
    return new XdrWriter().string(name).opaque(uuid).int(id)
  }

  #checkpoint(name: string): XdrWriter {
    const { name: domain, uuid, id } = this.#domain
    return new XdrWriter().string(name).string(domain).opaque(uuid).int(id)
  }

  async #text(procedure: Procedure, doing: string, args: XdrWriter): Promise<string> {
    return (await this.#call(procedure, doing, { args })).string()
  }

  async #call(
    procedure: Procedure,
    doing: string,
    { args = this.#args(), signal }: AbortOptions & { readonly args?: XdrWriter },
  ): Promise<XdrReader> {
    const sentence = `${doing} (domain '${this.name}')`
    return this.#connection.call({ procedure, doing: sentence, args, signal })
  }
}

function domainOf(reader: XdrReader): DomainName {
  return { name: reader.string(), uuid: reader.opaque(UUID_BYTES), id: reader.int() }
}

/** A name, the type, and the shortest of values. */
const TYPED_PARAMETER_BYTES_MIN = 12

/** remote_typed_param: VIR_TYPED_PARAM_* say what the value is. */
function typedParameter(reader: XdrReader): readonly [string, number | string] {
  const name = reader.string()
  const type = reader.int()
  const read = TYPED_VALUES[type - 1]
  if (read === undefined) {
    throw new MoverError('HYPERVISOR_FAILED', `libvirt's answer has a field of type ${type}`)
  }
  return [name, read(reader)]
}

const TYPED_VALUES: readonly ((reader: XdrReader) => number | string)[] = [
  reader => reader.int(),
  reader => reader.uint(),
  reader => reader.long(),
  reader => reader.ulong(),
  reader => reader.double(),
  reader => reader.int(),
  reader => reader.string(),
]

function uuidText(uuid: Buffer): string {
  return uuid.toString('hex').replace(/^(.{8})(.{4})(.{4})(.{4})(.{12})$/, '$1-$2-$3-$4-$5')
}

function uuidBytes(text: string): Buffer | null {
  const hex = text.replaceAll('-', '')
  return /^[0-9a-fA-F]{32}$/.test(hex) ? Buffer.from(hex, 'hex') : null
}
