/**
 * ByteReader: the primitives of schema-codec.ts, read from bytes that nobody vouches for. Every method refuses bytes
 * that end early or that ByteWriter would not have written, and never reads or allocates past them.
 */
import { Refusal } from './refusal.js';

/** 56 bits: enough for a safe integer. */
const varintBytesMax = 8;
/** Up to here a loop over ASCII is faster than a call of the decoder. */
const shortTextMax = 24;

const utf8 = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true });
const float64 = new DataView(new ArrayBuffer(8));
const float64Bytes = new Uint8Array(float64.buffer);

export class ByteReader {
  readonly #bytes: Uint8Array;
  #position = 0;

  constructor(bytes: Uint8Array) {
    this.#bytes = bytes;
  }

  get remaining(): number {
    return this.#bytes.length - this.#position;
  }

  /** Steps over `size` bytes; returns where they start. */
  #take(size: number): number {
    if (size > this.remaining) throw new Refusal(`the bytes end early: ${size} needed, ${this.remaining} left`);
    const start = this.#position;
    this.#position += size;
    return start;
  }

  #at(position: number): number {
    return this.#bytes[position] as number;
  }

  byte(): number {
    return this.#at(this.#take(1));
  }

  /** Steps over `count` bits, in whole bytes, lowest first; those that are left are 0. Returns where they start. */
  bits(count: number): number {
    const size = Math.ceil(count / 8);
    const start = this.#take(size);
    if (count % 8 > 0 && this.#at(start + size - 1) >> (count % 8) > 0)
      throw new Refusal('has a bit that means nothing');
    return start;
  }

  /** One of the bits that start at `start`. */
  bitAt(start: number, index: number): boolean {
    return ((this.#at(start + (index >> 3)) >> (index % 8)) & 1) === 1;
  }

  /** An unsigned integer of `size` bytes (0 to 7); above 2^53, which takes 7, it is rounded. */
  uint(size: number): number {
    const start = this.#take(size);
    let value = 0;
    for (let i = size - 1; i >= 0; i--) value = value * 256 + this.#at(start + i);
    return value;
  }

  varint(): number {
    let value = 0;
    let scale = 1;
    for (let i = 0; i < varintBytesMax; i++) {
      const byte = this.byte();
      value += (byte % 128) * scale;
      if (byte < 128) return this.#checkVarint(value, byte === 0 && i > 0);
      scale *= 128;
    }
    throw new Refusal(`has a varint of more than ${varintBytesMax} bytes`);
  }

  #checkVarint(value: number, overlong: boolean): number {
    if (overlong) throw new Refusal('has a varint that is longer than it needs to be');
    if (!Number.isSafeInteger(value)) throw new Refusal('has a varint that is not a safe integer');
    return value;
  }

  zigzag(): number {
    const first = this.byte();
    let magnitude = (first >> 1) % 64;
    if (first >= 128) {
      const rest = this.varint();
      if (rest === 0) throw new Refusal('has a varint that is longer than it needs to be');
      magnitude += rest * 64;
    }
    const value = first % 2 === 1 ? -magnitude - 1 : magnitude;
    if (!Number.isSafeInteger(value)) throw new Refusal('has a varint that is not a safe integer');
    return value;
  }

  /** A finite number, not -0. */
  float64(): number {
    const start = this.#take(8);
    for (let i = 0; i < 8; i++) float64Bytes[i] = this.#at(start + i);
    const value = float64.getFloat64(0, true);
    if (!Number.isFinite(value)) throw new Refusal(`must be a finite number, not ${value}`);
    if (Object.is(value, -0)) throw new Refusal('must be 0, not -0');
    return value;
  }

  text(): string {
    const size = this.varint();
    const start = this.#take(size);
    const short = size <= shortTextMax ? this.#shortAscii(start, size) : undefined;
    if (short !== undefined) return short;
    try {
      return utf8.decode(this.#bytes.subarray(start, start + size));
    } catch (error) {
      throw new Refusal('has text that is not UTF-8', error);
    }
  }

  #shortAscii(start: number, size: number): string | undefined {
    let text = '';
    for (let i = start; i < start + size; i++) {
      const byte = this.#at(i);
      if (byte >= 128) return undefined;
      text += String.fromCharCode(byte);
    }
    return text;
  }
}
