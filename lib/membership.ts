/**
 * Membership: the partitions that a member of a consumer group owns, as its user sees them. Internal.
 *
 * The core takes part in the group by itself. What is to be given back is handed out no more at once, and released when
 * the user is done with what was handed out of it before: when it is acknowledged, or when the user asks for more events.
 * Invariant: each revoked partition is released exactly once, after its acknowledgements under way are answered.
 */
import type { GroupSettings } from './consumer-options.js';

/** What a membership uses of its consumer. */
export interface MembershipParts {
  readonly settings: GroupSettings;
  /** Nothing of the partition is handed out any more. */
  readonly drop: (partition: number) => void;
  /** Calls `done`, maybe at once, when no acknowledgement of the partition is under way. */
  readonly whenAcknowledged: (partition: number, done: () => void) => void;
  readonly release: (partition: number) => void;
  /** One of the user's functions has thrown. */
  readonly failed: (error: unknown) => void;
}

export class Membership {
  readonly #parts: MembershipParts;
  readonly #owned = new Set<number>();
  /** Partitions to be given back, whose user is not done. */
  readonly #revoked = new Set<number>();
  /** Per partition: the last id handed out, and the last one that was acknowledged. */
  readonly #handedOut: (number | undefined)[] = [];
  readonly #acknowledged: (number | undefined)[] = [];

  constructor(parts: MembershipParts) {
    this.#parts = parts;
  }

  /** Partitions that are owned and not to be given back, in order. */
  get partitions(): number[] {
    return [...this.#owned].sort((a, b) => a - b);
  }

  handedOut(partition: number, id: number): void {
    this.#handedOut[partition] = id;
  }

  acknowledged(partition: number, id: number): void {
    this.#acknowledged[partition] = Math.max(this.#acknowledged[partition] ?? -1, id);
    if (this.#revoked.has(partition) && this.#isDone(partition)) this.#finish([partition]);
  }

  /** The user asks for more: it is done with what it was given. */
  asked(): void {
    if (this.#revoked.size > 0) this.#finish([...this.#revoked]);
  }

  change(granted: readonly number[], revoked: readonly number[]): void {
    for (const partition of revoked) {
      this.#owned.delete(partition);
      this.#revoked.add(partition);
      this.#parts.drop(partition);
    }
    for (const partition of granted) {
      this.#owned.add(partition);
      // Taken away while its user was at work, and given anew.
      this.#revoked.delete(partition);
      this.#handedOut[partition] = undefined;
      this.#acknowledged[partition] = undefined;
    }
    const { onAssign } = this.#parts.settings;
    if (granted.length > 0 && onAssign !== undefined) this.#call(() => onAssign([...granted]));
    const done = revoked.filter((partition) => this.#revoked.has(partition) && this.#isDone(partition));
    if (done.length > 0) this.#finish(done);
  }

  #isDone(partition: number): boolean {
    const last = this.#handedOut[partition];
    return last === undefined || (this.#acknowledged[partition] ?? -1) >= last;
  }

  #finish(partitions: readonly number[]): void {
    for (const partition of partitions) this.#revoked.delete(partition);
    const release = (): void => {
      for (const partition of partitions) {
        this.#parts.whenAcknowledged(partition, () => this.#parts.release(partition));
      }
    };
    const { onRevoke } = this.#parts.settings;
    const answer = onRevoke === undefined ? undefined : this.#call(() => onRevoke([...partitions]));
    if (answer instanceof Promise) answer.then(release, release);
    else release();
  }

  /** Calls a function of the user's; what it throws is told by the next pull. */
  #call(call: () => unknown): unknown {
    try {
      const answer = call();
      if (!(answer instanceof Promise)) return answer;
      return answer.catch((error: unknown) => this.#parts.failed(error));
    } catch (error) {
      this.#parts.failed(error);
      return undefined;
    }
  }
}
