/** The public face of mover: named re-exports, nothing else. */
export { backup, type BackupOptions, type BackupResult } from './backup.js'
export {
  backupMachine,
  type BackupMachineOptions,
  type BackupMachineResult,
} from './backup-machine.js'
export { cat, type CatOptions, type CatResult } from './cat.js'
export {
  cbtStatus,
  type CbtDiskStatus,
  type CbtMachineStatus,
  type CbtStatus,
  type CbtStatusOptions,
} from './cbt-status.js'
export { DirtyBitmap } from './cbt/dirty-bitmap.js'
export { diff, type DiffOptions } from './diff.js'
export type { AbortOptions } from './core/abort.js'
export {
  errorKind,
  MoverError,
  type ErrorKind,
  type MoverErrorCode,
  type Stage,
} from './core/errors.js'
export type { Extent, ExtentState, StatedExtent } from './core/extent.js'
export type { Machine, MachineDisk, TrackedDisk } from './hypervisor/point-in-time.js'
export type { Job } from './core/job.js'
export type { BackupMode, Manifest } from './core/manifest.js'
export type { ByteOutcome, Damage, DamagedExtent, MoverEvent } from './core/progress.js'
export { mapManifest, type MapManifestOptions, type MappedExtent } from './map-manifest.js'
export type { AuditPolicy } from './plan/audit-plan.js'
export { rebuildIndex, type RebuildIndexOptions, type RebuildIndexResult } from './rebuild-index.js'
export { isMachineName, openMachine, type MachineOptions } from './open-machine.js'
export {
  initRepository,
  openRepository,
  type Repository,
  type RepositoryInfo,
} from './repository.js'
export type { RepositoryDefaults } from './store/repository-config.js'
export {
  restoreDomain,
  type RestoreDomainOptions,
  type RestoreDomainResult,
} from './restore-domain.js'
export { restore, type RestoreOptions, type RestoreResult, type RestoredBytes } from './restore.js'
export {
  bitmapChanges,
  extentChanges,
  type ChangeAnswer,
  type ChangeSource,
} from './source/change-source.js'
export { changesFromFile } from './source/changes-file.js'
export { nbdChanges, type NbdChanges } from './source/nbd-changes.js'
export { openChanges } from './source/open-changes.js'
export { qcow2Changes, type Qcow2Changes } from './source/qcow2-changes.js'
export { openSource } from './source/open-source.js'
export type { Source } from './source/source.js'
export type { Tracker, TrackerFlag, Tracking } from './cbt/tracking.js'
export type { ForceReason } from './target/target-guard.js'
export { verify, type VerifyOptions, type VerifyResult } from './verify.js'
export type { Health } from './cbt/health.js'
