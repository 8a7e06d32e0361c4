/**
 * QEMU 7.2, with the fixes for CVE-2024-7409 and without the thread-safe NBD server of 9.0, ends with a
 * failed assertion (nbd_blockdev_client_closed) when a client leaves an export that an iothread runs, and
 * with it ends the guest. A client leaves at the latest when it is killed, so such a disk is not exported.
 */
import type { AbortOptions } from '../../core/abort.js'
import { MoverError } from '../../core/errors.js'
import { listOf, type JsonRecord } from './block-state.js'
import type { QemuDisk } from './open-qemu.js'
import { isQmpError, type QmpClient } from './qmp-client.js'

/** The first QEMU in which a client may leave from any thread. */
const SAFE_MAJOR = 9

/**
 * Throws HYPERVISOR_REFUSED for a disk that an iothread of an older QEMU serves, or may serve: where there
 * are iothreads, a disk has to be seen to have none.
 */
export async function refuseThreads(
  qmp: QmpClient,
  disks: readonly QemuDisk[],
  options?: AbortOptions,
): Promise<void> {
  const { qemu } = (await qmp.execute('query-version', {}, options)) as { qemu?: JsonRecord }
  const { major, minor } = qemu ?? {}
  if (typeof major === 'number' && major >= SAFE_MAJOR) return
  const objects = await readObjects(qmp, options)
  if (!objects.some(({ type }) => type === 'child<iothread>')) return
  for (const { name, qdev } of disks) {
    if (qdev !== null && !(await hasThread(qmp, qdev, options))) continue
    const version = `${String(major)}.${String(minor)}`
    throw new MoverError(
      'HYPERVISOR_REFUSED',
      `'${name}' is served by an iothread, and QEMU ${version} may end, with its guest, when that is backed up`,
      {
        stage: 'open',
        remedy: 'run the machine with QEMU 9 or later, or the disk without iothread=',
      },
    )
  }
}

async function readObjects(qmp: QmpClient, options?: AbortOptions): Promise<JsonRecord[]> {
  try {
    return listOf(await qmp.execute('qom-list', { path: '/objects' }, options))
  } catch (error) {
    // A storage daemon without any has no place for them either.
    if (isQmpError(error, 'DeviceNotFound')) return []
    throw error
  }
}

/** Asks the device and, for a disk of SCSI, its controller. */
async function hasThread(qmp: QmpClient, qdev: string, options?: AbortOptions): Promise<boolean> {
  const bus = await property(qmp, { path: qdev, property: 'parent_bus' }, options)
  const controller = bus.slice(0, Math.max(0, bus.lastIndexOf('/')))
  for (const path of [qdev, controller]) {
    if (path === '') continue
    const thread = await property(qmp, { path, property: 'iothread' }, options)
    if (thread !== '') return true
  }
  return false
}

/** The text of a property; empty where there is no such one. */
async function property(
  qmp: QmpClient,
  asked: { readonly path: string; readonly property: string },
  options?: AbortOptions,
): Promise<string> {
  try {
    return String(await qmp.execute('qom-get', asked, options))
  } catch (error) {
    if (isQmpError(error, 'GenericError')) return ''
    throw error
  }
}
