/**
 * Room: what all producers of one driver have pending against its `pendingBytesMax`, and those that wait for less of it.
 * Internal.
 *
 * Bytes are counted when somebody asks: a producer only notes that its number has changed, so that a push costs one store.
 * Those that wait go on one at a turn, in the order in which they came: each has pushed before the next is looked at. Half
 * of the limit is left for what those that are ready at the same time push together.
 *
 * Thread: the environment's. Owner: the connection. Invariants: nobody goes on without room, and every wait ends: by what
 * is in flight or in stages, which `departed` tells; where nothing is in flight, what is open is sent. The event loop is
 * kept alive while somebody waits.
 */
import type { Runtime } from './runtime.js';
import type { StagedBytes } from './staged-pushes.js';

/** A producer's side. */
export interface RoomUser {
  /** Its bytes may differ from `countedBytes`. */
  isStale: boolean;
  /** What the room has counted. The room's own. */
  countedBytes: number;
  /** `departures` when the limit refused a push of it: it waits for a later one. */
  refusedAt: number;
  /** Bytes that the core has of it. */
  pendingBytes(): number;
  /** It waits for what it has under way itself, however much room there is. */
  isBehind(): boolean;
  /** Some batch of it is in flight. */
  isSending(): boolean;
  /** Sends open batches that only the linger time would send. */
  sealOpen(): void;
  /** Its wait is over. */
  goOn(): void;
}

export class Room {
  readonly bytesMax: number;
  /** Of events whose stages run in workers: the core does not know them yet. */
  readonly staged: StagedBytes = { bytes: 0 };
  readonly #runtime: Runtime;
  /** Those with batches that are not completed. */
  readonly #users = new Set<RoomUser>();
  readonly #waiting = new Set<RoomUser>();
  /** Sum of what was counted of the users. */
  #bytes = 0;
  #departures = 0;
  #turnScheduled = false;

  constructor(runtime: Runtime, bytesMax: number) {
    this.#runtime = runtime;
    this.bytesMax = bytesMax;
  }

  /** How often something that was pending no longer was. */
  get departures(): number {
    return this.#departures;
  }

  /** It has batches. */
  enter(user: RoomUser): void {
    this.#users.add(user);
  }

  /** All its batches are completed. */
  leave(user: RoomUser): void {
    this.#users.delete(user);
    this.#bytes -= user.countedBytes;
    user.countedBytes = 0;
  }

  /** Whether half of the limit is pending, or it has refused a push of `user` and nothing has departed since. */
  isShortFor(user: RoomUser): boolean {
    return user.refusedAt === this.#departures || this.#isHalfFull();
  }

  /** Calls `goOn` once, when there is room and the user is not behind. */
  wait(user: RoomUser): void {
    if (this.#waiting.size === 0) this.#runtime.hold();
    this.#waiting.add(user);
    this.#lookAtWaiting();
  }

  /** Nothing when it does not wait. */
  stopWaiting(user: RoomUser): void {
    if (this.#waiting.delete(user) && this.#waiting.size === 0) this.#runtime.release();
  }

  /** A batch is completed, or events have left their stages. */
  departed(): void {
    this.#departures += 1;
    this.#lookAtWaiting();
  }

  #isHalfFull(): boolean {
    for (const user of this.#users) if (user.isStale) this.#count(user);
    return this.#bytes + this.staged.bytes >= this.bytesMax / 2;
  }

  #count(user: RoomUser): void {
    const bytes = user.pendingBytes();
    this.#bytes += bytes - user.countedBytes;
    user.countedBytes = bytes;
    user.isStale = false;
  }

  #lookAtWaiting(): void {
    if (this.#waiting.size > 0 && !this.#turnScheduled) this.#letOneGoOn();
  }

  #letOneGoOn(): void {
    let isShort = false;
    for (const user of this.#waiting) {
      if (user.isBehind()) continue;
      if (!this.isShortFor(user)) {
        this.stopWaiting(user);
        user.goOn();
        this.#scheduleTurn();
        return;
      }
      isShort = true;
      // What it waits for may be its own open batch.
      if (user.countedBytes >= this.bytesMax / 2) user.sealOpen();
    }
    if (isShort) this.#sendSomething();
  }

  /** What is open goes on filling while anything is in flight, which makes room by itself. */
  #sendSomething(): void {
    for (const user of this.#users) if (user.isSending()) return;
    for (const user of this.#users) user.sealOpen();
  }

  #scheduleTurn(): void {
    if (this.#waiting.size === 0) return;
    this.#turnScheduled = true;
    setImmediate(() => {
      this.#turnScheduled = false;
      this.#lookAtWaiting();
    });
  }
}
