/** 64-bit fields, little-endian, that hold whole numbers below 2^53: without a BigInt for each. */

export function putUint64(target: Buffer, value: number, at: number): void {
  target.writeUInt32LE(value % 0x1_0000_0000, at)
  target.writeUInt32LE(Math.floor(value / 0x1_0000_0000), at + 4)
}

export const getUint64 = (source: Buffer, at: number): number =>
  source.readUInt32LE(at) + source.readUInt32LE(at + 4) * 0x1_0000_0000
