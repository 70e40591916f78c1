/**
 * A delivery: a run of consecutive events of one partition as the core hands it over, read lazily. Internal.
 *
 * One buffer holds the table and the metadata of all events, one more their data; an Event is an index into both. The
 * metadata text is decoded once for the whole delivery when it is ASCII (one decode and cheap slices), else per event.
 * Layout: the head of a batch body in docs/formats, whose table entries are { u32 metadata end, u32 crc, u64 data end };
 * read as native 32-bit words, since the package runs on little-endian machines only.
 */
import { isAscii } from 'node:buffer';
import type { NativeDelivery } from './native.js';

const entryBytes = 16;
const entryWords = entryBytes / 4;

export class Delivery {
  readonly partition: number;
  readonly firstId: number;
  readonly count: number;
  readonly #table: Uint32Array;
  readonly #metadata: Buffer;
  readonly #native: NativeDelivery;
  /** All metadata as one string; null when it is not ASCII. */
  #text: string | null | undefined;

  constructor(native: NativeDelivery) {
    this.#native = native;
    this.partition = native.partition;
    this.firstId = native.firstId;
    this.count = native.count;
    this.#table = new Uint32Array(native.head, 0, native.count * entryWords);
    this.#metadata = Buffer.from(native.head, native.count * entryBytes, native.metadataBytes);
  }

  metadataBytes(index: number): Buffer {
    return this.#metadata.subarray(this.#metadataEnd(index - 1), this.#metadataEnd(index));
  }

  metadataText(index: number): string {
    const begin = this.#metadataEnd(index - 1);
    const end = this.#metadataEnd(index);
    if (this.#text === undefined) this.#text = isAscii(this.#metadata) ? this.#metadata.toString('latin1') : null;
    const text = this.#text;
    return text === null ? this.#metadata.toString('utf8', begin, end) : text.slice(begin, end);
  }

  dataSize(index: number): number {
    return this.#dataEnd(index) - this.#dataEnd(index - 1);
  }

  /** The delivered data of an event, a view; undefined when data is not delivered with the metadata. */
  data(index: number): Buffer | undefined {
    const { data, dataOffset } = this.#native;
    if (data === undefined) return undefined;
    const begin = this.#dataEnd(index - 1);
    return Buffer.from(data, dataOffset + begin, this.#dataEnd(index) - begin);
  }

  #metadataEnd(index: number): number {
    return index < 0 ? 0 : (this.#table[index * entryWords] as number);
  }

  #dataEnd(index: number): number {
    if (index < 0) return 0;
    const word = index * entryWords + 2;
    return (this.#table[word] as number) + (this.#table[word + 1] as number) * 2 ** 32;
  }
}
