import type { MachineAttachment } from '../point-in-time.js'
import type { Domain } from './domain.js'

/** Under which a domain's description is kept, and by which it is found again. */
export const DOMAIN_XML_NAME = 'domain.xml'
const DOMAIN_XML_TYPE = 'application/x-libvirt-domain+xml'

/** The description from which the domain can be defined again; passwords are not in it. */
export async function domainAttachments(domain: Domain): Promise<MachineAttachment[]> {
  const xml = await domain.xml({ isInactive: await domain.isPersistent() })
  return [{ name: DOMAIN_XML_NAME, type: DOMAIN_XML_TYPE, content: Buffer.from(xml) }]
}
