/** Random numbers that follow from a seed. */

/** Seed of this run: DIASPORA_SEED repeats one. */
export const seed: number = Number(process.env['DIASPORA_SEED'] ?? Date.now() % 1_000_000);

export class Random {
  #state: number;

  constructor(start: number) {
    // Never 0, where the generator would stay.
    this.#state = Math.imul(start, 2_654_435_761) | 1;
    for (let n = 0; n < 8; n++) this.next();
  }

  /** 32 bits, by xorshift. */
  next(): number {
    this.#state ^= this.#state << 13;
    this.#state ^= this.#state >>> 17;
    this.#state ^= this.#state << 5;
    return this.#state >>> 0;
  }

  /** An integer of 0 to `end` - 1. */
  below(end: number): number {
    return Math.floor((this.next() / 2 ** 32) * end);
  }

  chance(probability: number): boolean {
    return this.next() / 2 ** 32 < probability;
  }

  pick<T>(choices: readonly T[]): T {
    return choices[this.below(choices.length)]!;
  }
}
