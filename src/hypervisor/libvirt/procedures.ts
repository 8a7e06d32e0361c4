/**
 * Numbers of what is called: enum remote_procedure in libvirt's src/remote/remote_protocol.x. They are
 * part of its stable protocol. Arguments and answers are put and taken in the order of the structs there,
 * remote_NAME_args and remote_NAME_ret.
 */

/** REMOTE_PROGRAM and REMOTE_PROTOCOL_VERSION. */
export const REMOTE_PROGRAM = 0x2000_8086
export const REMOTE_VERSION = 1

export const PROCEDURES = {
  connectOpen: 1,
  connectClose: 2,
  connectGetVersion: 4,
  domainGetXmlDesc: 14,
  domainLookupByName: 23,
  domainLookupByUuid: 24,
  authList: 66,
  domainIsPersistent: 151,
  connectGetLibVersion: 157,
  domainGetJobInfo: 163,
  domainAbortJob: 164,
  domainGetBlockInfo: 194,
  domainGetState: 212,
  domainGetJobStats: 298,
  domainCheckpointGetXmlDesc: 412,
  domainListAllCheckpoints: 413,
  domainCheckpointDelete: 417,
  domainBackupBegin: 421,
  domainBackupGetXmlDesc: 422,
} as const

export type Procedure = keyof typeof PROCEDURES
