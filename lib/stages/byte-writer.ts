/**
 * ByteWriter: the primitives of schema-codec.ts, written into one growable buffer that is used again and again.
 *
 * Owner: one codec. What `written` gives is a view of the buffer: it holds until the next `reset`.
 */
import { DiasporaError } from '../errors.js';
import { Refusal } from './refusal.js';

/** Most events fit without growing. */
const firstBytes = 256;
/** A larger buffer is given back after the event that needed it. */
const keptBytesMax = 1 << 20;
/** Up to here a loop over ASCII is faster than two calls into the runtime. */
const shortTextMax = 64;

/** ES2024, not yet in the library that we compile against; in every Node.js that we support. */
interface WellFormed {
  isWellFormed(): boolean;
}

const float64 = new DataView(new ArrayBuffer(8));
const float64Bytes = new Uint8Array(float64.buffer);

export class ByteWriter {
  #bytes: Uint8Array = new Uint8Array(firstBytes);
  /** The same memory. */
  #buffer: Buffer = Buffer.from(this.#bytes.buffer);
  #length = 0;

  /** Forgets what was written. */
  reset(): void {
    if (this.#bytes.length > keptBytesMax) this.#replace(new Uint8Array(firstBytes));
    this.#length = 0;
  }

  /** What was written since the last reset; no copy. */
  written(): Uint8Array {
    return this.#bytes.subarray(0, this.#length);
  }

  #replace(bytes: Uint8Array): void {
    this.#bytes = bytes;
    this.#buffer = Buffer.from(bytes.buffer);
  }

  #ensure(more: number): void {
    const needed = this.#length + more;
    if (needed <= this.#bytes.length) return;
    const grown = new Uint8Array(Math.max(needed, 2 * this.#bytes.length));
    grown.set(this.#bytes.subarray(0, this.#length));
    this.#replace(grown);
  }

  byte(value: number): void {
    this.#ensure(1);
    this.#bytes[this.#length++] = value;
  }

  /** An unsigned integer in `size` bytes (0 to 7), little endian. */
  uint(value: number, size: number): void {
    this.#ensure(size);
    let rest = value;
    for (let i = 0; i < size; i++) {
      this.#bytes[this.#length++] = rest % 256;
      rest = Math.floor(rest / 256);
    }
  }

  /** An unsigned safe integer: seven bits a byte, low ones first, the high bit says that more follow. */
  varint(value: number): void {
    this.#ensure(8);
    let rest = value;
    while (rest >= 128) {
      this.#bytes[this.#length++] = (rest % 128) + 128;
      rest = Math.floor(rest / 128);
    }
    this.#bytes[this.#length++] = rest;
  }

  /** A safe integer, as the varint of 2v, or of -2v - 1 when negative. That has 54 bits: it is never formed whole. */
  zigzag(value: number): void {
    const sign = value < 0 ? 1 : 0;
    const magnitude = sign === 1 ? -value - 1 : value;
    const first = (magnitude % 64) * 2 + sign;
    if (magnitude < 64) {
      this.byte(first);
    } else {
      this.byte(first + 128);
      this.varint(Math.floor(magnitude / 64));
    }
  }

  /** Eight bytes, little endian; -0 is written as 0, as in JSON. */
  float64(value: number): void {
    this.#ensure(8);
    float64.setFloat64(0, value + 0, true);
    this.#bytes.set(float64Bytes, this.#length);
    this.#length += 8;
  }

  /** The number of bytes as a varint, then UTF-8. Refuses what UTF-8 cannot express. */
  text(value: string): void {
    if (value.length <= shortTextMax && this.#shortAscii(value)) return;
    if (!(value as unknown as WellFormed).isWellFormed()) throw new Refusal('must not have unpaired surrogates');
    const size = Buffer.byteLength(value, 'utf8');
    this.varint(size);
    this.#ensure(size);
    const written = this.#buffer.write(value, this.#length, size, 'utf8');
    if (written !== size) throw new DiasporaError('INTERNAL', `${written} of ${size} bytes of text were written`);
    this.#length += size;
  }

  /** False, with nothing written, when not all of it is ASCII. */
  #shortAscii(value: string): boolean {
    this.#ensure(1 + value.length);
    const start = this.#length + 1;
    for (let i = 0; i < value.length; i++) {
      const code = value.charCodeAt(i);
      if (code >= 128) return false;
      this.#bytes[start + i] = code;
    }
    this.#bytes[this.#length] = value.length;
    this.#length = start + value.length;
    return true;
  }
}
