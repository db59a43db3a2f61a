/**
 * `ndfs certificate`: an authority in a folder, and certificates that it issues. The folder's `ca.key` signs whatever it is asked to: it stays
 * where nodes are not; they get `ca.pem` and their own two files.
 */
import { join } from 'node:path'
import { NdfsError } from '../base/errors.ts'
import type { Platform } from '../platform/platform.ts'
import { issueCertificate, makeAuthority, serialBytes } from './certificates.ts'

export interface WrittenCertificate {
  readonly certFile: string
  readonly keyFile: string
}

const secret = 0o600
const open = 0o644
const authority = (folder: string): WrittenCertificate => placesOf(folder, 'ca')
const placesOf = (folder: string, name: string): WrittenCertificate => ({
  certFile: join(folder, `${name}.pem`),
  keyFile: join(folder, `${name}.key`),
})

/** Durable when it resolves. ALREADY_EXISTS where there is one: what it has issued would be trusted by nobody. */
export async function initAuthority(
  folder: string,
  { name, days }: { readonly name: string; readonly days: number },
  { files, clock, chance }: Platform,
): Promise<WrittenCertificate> {
  const places = authority(folder)
  await files.makeDirectory(folder)
  for (const path of [places.certFile, places.keyFile])
    if ((await files.readWhole(path)) !== undefined)
      throw new NdfsError(
        'ALREADY_EXISTS',
        `Cannot make an authority in ${folder}: there is ${path} already`,
        { path },
      )
  const made = makeAuthority(name, { from: clock.wallTime(), days }, chance.bytes(serialBytes))
  await files.replaceWhole(places.keyFile, Buffer.from(made.key), secret)
  await files.replaceWhole(places.certFile, Buffer.from(made.certificate), open)
  return places
}

/** Named after the first name; an older one of it is replaced. */
export async function issueInto(
  folder: string,
  names: readonly [string, ...string[]],
  days: number,
  { files, clock, chance }: Platform,
): Promise<WrittenCertificate> {
  const by = authority(folder)
  const [certificate, key] = await Promise.all([by.certFile, by.keyFile].map((path) => files.readWhole(path)))
  if (certificate === undefined || key === undefined)
    throw new NdfsError(
      'NOT_FOUND',
      `Cannot issue a certificate: there is no authority in ${folder}. Make one with \`ndfs certificate init --dir ${folder}\``,
      { folder },
    )
  const bad = names.find((name) => !/^[A-Za-z0-9:][A-Za-z0-9.:-]{0,252}$/.test(name))
  if (bad !== undefined || names[0] === 'ca')
    throw new NdfsError(
      'REFUSED',
      `Cannot issue a certificate for ${bad ?? 'ca'}: name a node, a host or an address`,
    )
  const issued = issueCertificate(
    { certificate: certificate.toString(), key: key.toString() },
    names,
    { from: clock.wallTime(), days },
    chance.bytes(serialBytes),
  )
  const places = placesOf(folder, names[0])
  await files.replaceWhole(places.keyFile, Buffer.from(issued.key), secret)
  await files.replaceWhole(places.certFile, Buffer.from(issued.certificate), open)
  return places
}
