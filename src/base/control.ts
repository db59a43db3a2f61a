/**
 * The encoding of what is small and has a shape: control messages between nodes, rows. CBOR (RFC 8949).
 * What is large or frequent (records, pages) has a drawn binary format beside the code that owns it.
 */
import { Encoder } from 'cbor-x'

const encoder = new Encoder({ useRecords: false, mapsAsObjects: true, tagUint8Array: false })

export const encodeControl = (value: unknown): Buffer => encoder.encode(value)
export const decodeControl = <T>(bytes: Uint8Array): T => encoder.decode(bytes) as T
