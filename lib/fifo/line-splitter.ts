/** Bytes, in whatever pieces they come, to lines. Pure but for what it keeps of the line that is not yet complete. */
import { isUtf8 } from 'node:buffer';

/** Longest line: the most metadata that an event has. */
export const lineBytesMax: number = 2 ** 20;

export interface Line {
  /** Counted from 1. */
  readonly number: number;
  /** Without the line feed. Undefined for a line that is longer than lineBytesMax: it has not been kept. */
  readonly text: string | undefined;
  /** Bytes that are not UTF-8 were replaced. */
  readonly isMended: boolean;
}

const lineFeed = 0x0a;

export class LineSplitter {
  #parts: Buffer[] = [];
  #bytes = 0;
  #number = 0;

  /** The lines that `chunk` completes. It may be used again afterwards. */
  push(chunk: Buffer): Line[] {
    const lines: Line[] = [];
    let from = 0;
    for (let at = chunk.indexOf(lineFeed); at >= 0; at = chunk.indexOf(lineFeed, from)) {
      this.#keep(chunk.subarray(from, at));
      lines.push(this.#take());
      from = at + 1;
    }
    if (from < chunk.length) this.#keep(Buffer.from(chunk.subarray(from)));
    return lines;
  }

  /** What came behind the last line feed: a line too, when the writers have gone. */
  end(): Line[] {
    return this.#bytes === 0 ? [] : [this.#take()];
  }

  #keep(part: Buffer): void {
    this.#bytes += part.length;
    if (this.#bytes > lineBytesMax) this.#parts = [];
    else this.#parts.push(part);
  }

  #take(): Line {
    const bytes = this.#parts.length === 1 ? (this.#parts[0] as Buffer) : Buffer.concat(this.#parts);
    const isTooLong = this.#bytes > lineBytesMax;
    this.#parts = [];
    this.#bytes = 0;
    this.#number += 1;
    return { number: this.#number, text: isTooLong ? undefined : bytes.toString('utf8'), isMended: !isUtf8(bytes) };
  }
}
