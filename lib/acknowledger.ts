/**
 * The acknowledgements of one consumer: per partition at most one request is under way; what is acknowledged meanwhile
 * goes out as one request behind it. Internal.
 *
 * Invariant: the ids of the requests of a partition ascend; each future settles with the request that covers it.
 */
import type { DiasporaError } from './errors.js';
import { Completion, type Future } from './future.js';

/** Sends one acknowledgement; `done` is called later, exactly once. */
export type SendAcknowledgement = (
  partition: number,
  id: number,
  done: (error: DiasporaError | undefined) => void,
) => void;

interface Round {
  id: number;
  readonly completion: Completion<void>;
}

interface PartitionRounds {
  /** Highest id known to be stored at the server. */
  stored: number;
  underWay: Round | undefined;
  next: Round | undefined;
  /** Called once when nothing is under way. */
  idle: (() => void)[];
}

export class Acknowledger {
  readonly #send: SendAcknowledgement;
  readonly #partitions = new Map<number, PartitionRounds>();
  #failure: DiasporaError | undefined;
  #idle: (() => void)[] = [];
  #underWay = 0;

  constructor(send: SendAcknowledgement) {
    this.#send = send;
  }

  acknowledge(partition: number, id: number): Future<void> {
    let rounds = this.#partitions.get(partition);
    if (rounds === undefined) {
      rounds = { stored: -1, underWay: undefined, next: undefined, idle: [] };
      this.#partitions.set(partition, rounds);
    }
    const covering = [rounds.underWay, rounds.next].find((round) => round !== undefined && id <= round.id);
    if (covering !== undefined) return covering.completion.future();
    if (id <= rounds.stored) {
      const done = new Completion<void>();
      done.resolve();
      return done.future();
    }
    if (rounds.next !== undefined) {
      rounds.next.id = id;
      return rounds.next.completion.future();
    }
    rounds.next = { id, completion: new Completion<void>() };
    const { completion } = rounds.next;
    if (rounds.underWay === undefined) this.#start(partition, rounds);
    return completion.future();
  }

  /** Calls `done`, at once if it can, when nothing of the partition is under way. */
  whenIdle(partition: number, done: () => void): void {
    const rounds = this.#partitions.get(partition);
    if (rounds?.underWay === undefined) done();
    else rounds.idle.push(done);
  }

  /** Resolves when nothing is under way; rejects when an acknowledgement has failed. */
  async settled(): Promise<void> {
    if (this.#underWay > 0) await new Promise<void>((resolve) => this.#idle.push(resolve));
    if (this.#failure !== undefined) throw this.#failure;
  }

  #start(partition: number, rounds: PartitionRounds): void {
    const round = rounds.next;
    rounds.next = undefined;
    rounds.underWay = round;
    if (round === undefined) return;
    this.#underWay += 1;
    this.#send(partition, round.id, (error) => {
      this.#underWay -= 1;
      if (error === undefined) {
        rounds.stored = Math.max(rounds.stored, round.id);
        round.completion.resolve();
      } else {
        // Whose partition is another's now has been told; nothing of it is left to do here.
        if (error.code !== 'FENCED') this.#failure ??= error;
        round.completion.reject(error);
      }
      this.#start(partition, rounds);
      if (rounds.underWay === undefined) for (const idle of rounds.idle.splice(0)) idle();
      if (this.#underWay === 0) for (const resolve of this.#idle.splice(0)) resolve();
    });
  }
}
