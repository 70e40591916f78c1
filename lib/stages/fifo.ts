/** A queue of which both ends are cheap, at any length. */

/** The rest moves up once so many were taken, and more than are left. */
const gapMax = 1024;

export class Fifo<T> {
  #items: T[] = [];
  #start = 0;

  get length(): number {
    return this.#items.length - this.#start;
  }

  push(item: T): void {
    this.#items.push(item);
  }

  shift(): T | undefined {
    if (this.length === 0) return undefined;
    const item = this.#items[this.#start] as T;
    this.#items[this.#start] = undefined as T;
    this.#start += 1;
    if (this.length === 0 || (this.#start > gapMax && this.#start > this.length)) this.#moveUp();
    return item;
  }

  /** Puts `items` before all others, in their order. */
  putBack(items: readonly T[]): void {
    this.#items.splice(0, this.#start, ...items);
    this.#start = 0;
  }

  clear(): T[] {
    const items = this.#items.slice(this.#start);
    this.#items = [];
    this.#start = 0;
    return items;
  }

  #moveUp(): void {
    this.#items.splice(0, this.#start);
    this.#start = 0;
  }
}
