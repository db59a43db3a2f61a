import assert from 'node:assert/strict'
import { randomBytes, X509Certificate } from 'node:crypto'
import { execFileSync } from 'node:child_process'
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { test } from 'node:test'
import { hasCode } from '../base/errors.ts'
import { issueCertificate, makeAuthority, serialBytes } from './certificates.ts'

const serial = (): Buffer => randomBytes(serialBytes)
const soon = { from: Date.now(), days: 30 }
const authority = makeAuthority('NDFS cluster 0123456789abcdef', { from: Date.now(), days: 3650 }, serial())

test('a certificate names whom it was issued for, and is signed by the authority', () => {
  const ca = new X509Certificate(authority.certificate)
  assert.ok(ca.ca && ca.verify(ca.publicKey))
  const { certificate, key } = issueCertificate(
    authority,
    ['n1', 'host-1.example', '10.1.2.3', 'fd00::1:2'],
    soon,
    serial(),
  )
  const made = new X509Certificate(certificate)
  assert.ok(!made.ca && made.verify(ca.publicKey) && made.checkIssued(ca))
  assert.equal(
    made.subjectAltName,
    'DNS:n1, DNS:host-1.example, IP Address:10.1.2.3, IP Address:FD00:0:0:0:0:0:1:2',
  )
  assert.equal(made.subject, 'CN=n1')
  assert.ok(Math.abs(made.validToDate.getTime() - Date.now() - 30 * 86_400_000) < 10_000)
  assert.match(key, /BEGIN PRIVATE KEY/)
})

test('OpenSSL verifies it for both sides of a connection', () => {
  const folder = mkdtempSync(join(tmpdir(), 'ndfs-certificates-'))
  try {
    const { certificate } = issueCertificate(authority, ['n1'], { from: Date.now(), days: 40_000 }, serial())
    writeFileSync(join(folder, 'ca.pem'), authority.certificate)
    writeFileSync(join(folder, 'n1.pem'), certificate)
    for (const purpose of ['sslserver', 'sslclient']) {
      const args = ['verify', '-x509_strict', '-purpose', purpose, '-CAfile', 'ca.pem', 'n1.pem']
      assert.match(execFileSync('openssl', args, { cwd: folder, encoding: 'utf8' }), /n1\.pem: OK/)
    }
  } finally {
    rmSync(folder, { recursive: true })
  }
})

test('nothing is issued with the key of another authority', () => {
  const other = makeAuthority('NDFS cluster 0123456789abcdef', soon, serial())
  const mixed = { certificate: authority.certificate, key: other.key }
  assert.throws(
    () => issueCertificate(mixed, ['n1'], soon, serial()),
    (error) => hasCode(error, 'REFUSED'),
  )
})
