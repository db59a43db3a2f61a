/** Why TLS did not come about, in our words, and what to do about it. */
import { TlsFailure } from './platform.ts'

export const goneEarly = (): TlsFailure => new TlsFailure('it closed the connection before TLS began')

export function failureOf(fault: Error = goneEarly()): TlsFailure {
  return fault instanceof TlsFailure ? fault : new TlsFailure(sentenceOf(fault), { cause: fault })
}

/** By the codes of OpenSSL, in our words and what to do about it. */
function sentenceOf(fault: NodeJS.ErrnoException & { readonly reason?: string }): string {
  switch (fault.code) {
    case 'CERT_HAS_EXPIRED':
      return 'its certificate, or that of its authority, has expired: issue a new one'
    case 'CERT_NOT_YET_VALID':
      return 'its certificate is not valid yet: is one of the two clocks wrong?'
    case 'DEPTH_ZERO_SELF_SIGNED_CERT':
    case 'SELF_SIGNED_CERT_IN_CHAIN':
    case 'UNABLE_TO_GET_ISSUER_CERT':
    case 'UNABLE_TO_GET_ISSUER_CERT_LOCALLY':
    case 'UNABLE_TO_VERIFY_LEAF_SIGNATURE':
    case 'CERT_SIGNATURE_FAILURE':
      return 'its certificate is signed by none of the authorities that are trusted here: issue one by them, or add its authority to the CA file'
    case 'INVALID_PURPOSE':
      return 'its certificate is not made for this side of a connection: a node needs serverAuth and clientAuth'
    case 'UNSPECIFIED':
    case 'ERR_SSL_PEER_DID_NOT_RETURN_A_CERTIFICATE':
      return 'it shows no certificate by an authority that is trusted here'
    case 'ERR_SSL_WRONG_VERSION_NUMBER':
    case 'ERR_SSL_PACKET_LENGTH_TOO_LONG':
    case 'ERR_SSL_RECORD_TOO_LARGE':
    case 'ERR_SSL_DATA_LENGTH_TOO_LONG':
    case 'ERR_SSL_HTTP_REQUEST':
      return 'it does not speak TLS'
    default:
      return `TLS failed: ${fault.reason ?? fault.message}`
  }
}
