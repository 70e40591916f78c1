/**
 * DataDescriptor: which bytes of an event's data are meant. A value; pure; never touches the bytes.
 *
 * A descriptor is a list of ranges of the event's data, ascending, not overlapping, not adjacent. A view selects within
 * *its parent's* bytes, so views compose: the first byte of a view of a view is byte 0 of the inner one. Offsets and
 * sizes are bytes.
 */
import { DiasporaError } from './errors.js';

/** A run of bytes: `[offset, size]`, offset from the start of the event's data. */
export type DataRange = readonly [offset: number, size: number];

/**
 * Most ranges of one descriptor. 2^20: one event's selection stays below 16 MiB of ranges, while a strided view of one
 * byte in two still covers 2 MiB.
 */
export const descriptorRangesMax: number = 1 << 20;

function checkLength(what: string, value: number): number {
  if (Number.isSafeInteger(value) && value >= 0) return value;
  throw new DiasporaError('INVALID_DESCRIPTOR', `${what} must be an integer of at least 0, not ${String(value)}`);
}

/** Adds [offset, size] behind `ranges`, joining it with the last one when they touch. Nothing for size 0. */
function append(ranges: [number, number][], offset: number, size: number): void {
  if (size === 0) return;
  const last = ranges.at(-1);
  if (last !== undefined && last[0] + last[1] === offset) last[1] += size;
  else ranges.push([offset, size]);
  if (ranges.length > descriptorRangesMax) {
    throw new DiasporaError('INVALID_DESCRIPTOR', `a descriptor has at most ${descriptorRangesMax} ranges`);
  }
}

/** Which bytes of an event's data are selected. Made by the consumer for each event; views of it are made by you. */
export class DataDescriptor {
  /** Bytes selected. */
  readonly size: number;
  readonly #ranges: readonly DataRange[];

  private constructor(ranges: readonly DataRange[]) {
    this.#ranges = ranges;
    let size = 0;
    for (const range of ranges) size += range[1];
    this.size = size;
  }

  /** All of `size` bytes. */
  static whole(size: number): DataDescriptor {
    return new DataDescriptor(checkLength('size', size) === 0 ? [] : [[0, size]]);
  }

  /** Nothing. */
  static empty(): DataDescriptor {
    return new DataDescriptor([]);
  }

  /** The selected bytes as ranges of the event's data: ascending, not overlapping, not adjacent, none of size 0. */
  ranges(): readonly DataRange[] {
    return this.#ranges;
  }

  /**
   * `size` bytes from `offset` of this view. Clamped to it as in Array.prototype.slice: what lies behind the end is left
   * out, and an offset behind the end gives an empty view. Throws INVALID_DESCRIPTOR for what is not an integer >= 0.
   */
  makeSubView(offset: number, size: number): DataDescriptor {
    checkLength('offset', offset);
    checkLength('size', size);
    const from = Math.min(offset, this.size);
    return this.#select([[from, Math.min(size, this.size - from)]]);
  }

  /**
   * `count` blocks of `blockLength` bytes, the first at `offset`, with `gap` bytes between one block's end and the next
   * one's start. The gap behind the last block does not count. Empty for count or blockLength 0. Throws
   * INVALID_DESCRIPTOR when the last block does not fit.
   */
  makeStridedView(offset: number, count: number, blockLength: number, gap: number): DataDescriptor {
    checkLength('offset', offset);
    checkLength('count', count);
    checkLength('blockLength', blockLength);
    checkLength('gap', gap);
    if (count === 0 || blockLength === 0) return DataDescriptor.empty();
    const stride = blockLength + gap;
    // Compared by division: count * stride may exceed what a number holds exactly.
    const room = this.size - offset - blockLength;
    if (room < 0 || count - 1 > Math.floor(room / stride)) {
      const wanted = `${count} blocks of ${blockLength} bytes, ${gap} apart, from ${offset}`;
      throw new DiasporaError('INVALID_DESCRIPTOR', `${wanted} do not fit into ${this.size} bytes`);
    }
    if (gap === 0) return this.#select([[offset, count * blockLength]]);
    if (count > descriptorRangesMax) {
      throw new DiasporaError('INVALID_DESCRIPTOR', `a descriptor has at most ${descriptorRangesMax} ranges`);
    }
    const blocks: DataRange[] = [];
    for (let i = 0; i < count; i += 1) blocks.push([offset + i * stride, blockLength]);
    return this.#select(blocks);
  }

  /**
   * The given `[offset, size]` ranges of this view, which must be in order, not overlap and lie within it, else
   * INVALID_DESCRIPTOR. Touching ranges are joined, empty ones left out.
   */
  makeUnstructuredView(ranges: Iterable<DataRange>): DataDescriptor {
    const chosen: [number, number][] = [];
    let end = 0;
    for (const [offset, size] of ranges) {
      checkLength('offset', offset);
      checkLength('size', size);
      if (offset < end) {
        throw new DiasporaError(
          'INVALID_DESCRIPTOR',
          `the range at ${offset} begins before the last one ends (${end})`,
        );
      }
      end = offset + size;
      if (end > this.size) {
        throw new DiasporaError('INVALID_DESCRIPTOR', `the range [${offset}, ${end}) is not within ${this.size} bytes`);
      }
      append(chosen, offset, size);
    }
    return this.#select(chosen);
  }

  /** Translates ascending ranges of this view into ranges of the data: one walk over both lists. */
  #select(chosen: readonly DataRange[]): DataDescriptor {
    const result: [number, number][] = [];
    let index = 0; // in this.#ranges
    let before = 0; // bytes of this view in front of range `index`
    for (const [offset, size] of chosen) {
      let at = offset;
      let left = size;
      while (left > 0) {
        const base = this.#ranges[index];
        if (base === undefined) throw new DiasporaError('INTERNAL', 'a view ran past its parent');
        const skip = at - before;
        if (skip >= base[1]) {
          before += base[1];
          index += 1;
          continue;
        }
        const length = Math.min(left, base[1] - skip);
        append(result, base[0] + skip, length);
        at += length;
        left -= length;
      }
    }
    return new DataDescriptor(result);
  }
}
