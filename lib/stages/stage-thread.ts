/**
 * StageThread: one worker of a pool, as the pool sees it: what it was given, what it has answered, how long it is at the
 * same event.
 *
 * States: starting -> ready -> gone. Its worker never keeps the process alive. Invariants: results come in the order of
 * the events of a group, and groups in the order in which they were sent; `owner` hears of the end exactly once.
 */
import { MessageChannel, type MessagePort, receiveMessageOnPort, Worker } from 'node:worker_threads';
import { DiasporaError } from '../errors.js';
import { receiveError } from './error-transport.js';
import type { Lane, StageJob } from './lane.js';
import type { StageOutcome } from './run-stages.js';
import {
  claimedAll,
  type FromThread,
  groupsPerThread,
  type PartMessage,
  type SentFailure,
  type ThreadData,
  type ToThread,
} from './stage-messages.js';
import { stageWork } from './stage-work.js';

/** What a thread tells its pool. */
export interface ThreadOwner {
  threadReady(thread: StageThread): void;
  /** The outcome of a job that has none yet. */
  jobDone(job: StageJob, outcome: StageOutcome): void;
  /** It has answered something. */
  threadAnswered(thread: StageThread): void;
  threadEnded(thread: StageThread, reason: DiasporaError): void;
}

interface Group {
  readonly slot: number;
  readonly lane: Lane;
  readonly jobs: readonly StageJob[];
  /** Results that have come. */
  reported: number;
  /** Set when it was taken back: events that were claimed then. */
  claimed: number | undefined;
}

/** What a thread that ended, or is stuck, leaves behind. */
export interface Remains {
  /** Events that it was working on, or the events whose stages it could not even begin to make. */
  readonly begun: readonly StageJob[];
  /** Those that another thread can take. */
  readonly rest: readonly (readonly [Lane, readonly StageJob[]])[];
}

/** Weight of the newest part in the average. */
const newestWeight = 0.25;

/** A program that is a string (`node --input-type=module -e`) has flags that no worker starts with. */
function flags(): { execArgv?: string[] } {
  return process.execArgv.some((flag) => flag.startsWith('--input-type')) ? { execArgv: [] } : {};
}

/** Why a worker ended, as an error of the events that it was working on. */
function endError(code: number, cause: unknown): DiasporaError {
  if ((cause as { code?: unknown } | undefined)?.code === 'ERR_WORKER_OUT_OF_MEMORY') {
    const message = 'a stage used more memory than its worker thread may have';
    return new DiasporaError('RESOURCE_EXHAUSTED', message, { cause });
  }
  const why = cause instanceof Error ? `by an error that nobody caught: ${cause.message}` : `with exit code ${code}`;
  return new DiasporaError('ABORTED', `the worker thread of a stage ended ${why}`, { cause });
}

export class StageThread {
  readonly groups: Group[] = [];
  /** Milliseconds for which it is at the same event, or at the same step of its start. */
  stuckMs = 0;
  /** Its events but the one it works on were taken back: no more until it is done with that one. */
  isTakenFrom = false;
  readonly #owner: ThreadOwner;
  readonly #worker: Worker;
  readonly #port: MessagePort;
  readonly #claims: Int32Array = new Int32Array(new SharedArrayBuffer(4 * groupsPerThread));
  readonly #known = new Set<number>();
  #state: 'starting' | 'ready' | 'gone' = 'starting';
  #sent = 0;
  #answers = 0;
  /** Where it was at the last look. */
  #position = '';

  /** Throws when there can be no further thread. */
  constructor(owner: ThreadOwner) {
    this.#owner = owner;
    const { port1, port2 } = new MessageChannel();
    this.#port = port1;
    const data: ThreadData = { port: port2, signal: stageWork.signal, claims: this.#claims };
    const worker = new Worker(new URL('./stage-worker.js', import.meta.url), {
      name: 'diaspora-stages',
      workerData: data,
      transferList: [port2],
      ...flags(),
    });
    this.#worker = worker;
    let cause: unknown;
    worker.on('error', (error) => {
      cause = error;
    });
    worker.on('exit', (code) => {
      this.receive();
      this.#end(() => endError(code, cause));
    });
    port1.on('message', (message: FromThread) => {
      this.#take(message);
      this.receive();
    });
    worker.unref();
    port1.unref();
  }

  get isStarting(): boolean {
    return this.#state === 'starting';
  }

  /** More can be sent. */
  get hasRoom(): boolean {
    return this.#state === 'ready' && !this.isTakenFrom && this.groups.length < groupsPerThread;
  }

  /** Takes in what it has told, without the event loop. */
  receive(): void {
    while (this.#state !== 'gone') {
      const received = receiveMessageOnPort(this.#port) as { message: FromThread } | undefined;
      if (received === undefined) return;
      this.#take(received.message);
    }
  }

  send(lane: Lane, jobs: readonly StageJob[]): void {
    const { setup } = lane;
    if (!this.#known.has(setup.id)) {
      this.#known.add(setup.id);
      this.#post({ kind: 'setup', setup });
    }
    const slot = this.#sent % groupsPerThread;
    this.#sent += 1;
    Atomics.store(this.#claims, slot, 0);
    this.groups.push({ slot, lane, jobs, reported: 0, claimed: undefined });
    let end = 0;
    this.#post({
      kind: 'group',
      setup: setup.id,
      slot,
      text: jobs.map(({ text }) => text).join(''),
      ends: Int32Array.from(jobs, ({ text }) => (end += text.length)),
      ...(setup.mayChange && { isVerbatim: jobs.map(({ isVerbatim }) => isVerbatim) }),
      ...(setup.selects && jobs.some(({ requested }) => requested !== undefined)
        ? { requested: jobs.map(({ requested }) => requested) }
        : {}),
    });
  }

  /** Its stages of a topic are needed no more. */
  forget(id: number): void {
    if (this.#known.delete(id) && this.#state !== 'gone') this.#post({ kind: 'forget', id });
  }

  /** `ms` have passed since the last look: is it still where it was? */
  look(ms: number): void {
    const [group] = this.groups;
    const claimed = group === undefined ? 0 : Atomics.load(this.#claims, group.slot);
    const position = `${this.#state} ${this.#answers} ${claimed}`;
    const isIdle = this.#state !== 'starting' && group === undefined;
    this.stuckMs = isIdle || position !== this.#position ? 0 : this.stuckMs + ms;
    this.#position = position;
  }

  /** It is at work on an event, as opposed to its start or the making of stages. */
  get isInStage(): boolean {
    const [group] = this.groups;
    return group !== undefined && Atomics.load(this.#claims, group.slot) > 0;
  }

  /**
   * Nothing more of its groups is begun; gives what is left of them that was not given before. Results that are on their
   * way still count.
   */
  takeBack(): Remains {
    this.isTakenFrom = true;
    const rest: [Lane, readonly StageJob[]][] = [];
    let begun: readonly StageJob[] = [];
    for (const [at, group] of this.groups.entries()) {
      const { lane, jobs, reported } = group;
      const left = (from: number, to?: number): StageJob[] => jobs.slice(from, to).filter(({ done }) => !done);
      const isFirstTime = group.claimed === undefined;
      group.claimed ??= Math.min(Atomics.exchange(this.#claims, group.slot, claimedAll), jobs.length);
      const { claimed } = group;
      if (at === 0) begun = claimed === 0 ? left(0) : left(Math.max(claimed - 1, reported), claimed);
      // Those before the one that is begun are done, but not told. They are done once more: nothing of them is stored.
      if (isFirstTime && at === 0 && claimed > 0) rest.push([lane, [...left(reported, claimed - 1), ...left(claimed)]]);
      else if (isFirstTime && at > 0) rest.push([lane, left(0)]);
    }
    return { begun, rest };
  }

  /** Ends it in the middle of whatever it does. Resolves when it has ended. The owner hears nothing of it. */
  async terminate(): Promise<void> {
    this.#state = 'gone';
    // Whoever waits for this waits for something: without it the process might end before.
    this.#worker.ref();
    this.#port.close();
    await this.#worker.terminate();
  }

  #post(message: ToThread): void {
    this.#port.postMessage(message);
  }

  #take(message: FromThread): void {
    if (this.#state === 'gone') return;
    if (message.kind === 'ready') {
      this.#state = 'ready';
      this.#owner.threadReady(this);
    } else if (message.kind === 'ending') {
      const { code, error } = message;
      // What it was inside of the worker is the cause, whatever class it has.
      this.#end(() => endError(code, error && (receiveError(error).cause ?? receiveError(error))));
    } else {
      this.#takePart(message);
    }
  }

  #takePart(part: PartMessage): void {
    const group = this.groups[0] as Group;
    this.#answers += 1;
    const failures = new Map((part.failures ?? []).map((failure) => [failure.index, failure]));
    for (let i = 0; i < part.count; i++) {
      const job = group.jobs[group.reported + i] as StageJob;
      if (!job.done) this.#owner.jobDone(job, outcomeOf(part, i, failures.get(i)));
    }
    group.reported += part.count;
    if (part.count > 0) {
      const { lane } = group;
      const each = part.tookMs / part.count;
      const before = lane.averageMs ?? each;
      lane.fruitless = 0;
      lane.averageMs = before + newestWeight * (each - before);
    }
    if (part.isLast) {
      this.groups.shift();
      if (this.groups.length === 0) this.isTakenFrom = false;
    }
    this.#owner.threadAnswered(this);
  }

  #end(reason: () => DiasporaError): void {
    if (this.#state === 'gone') return;
    // The owner still asks in what state it ended.
    this.#port.close();
    this.#owner.threadEnded(this, reason());
    this.#state = 'gone';
  }
}

function outcomeOf(part: PartMessage, index: number, failure: SentFailure | undefined): StageOutcome {
  const partition = part.partitions?.[index];
  if (failure !== undefined) {
    return { partition, stored: undefined, step: failure.step, thrown: receiveError(failure.error) };
  }
  const { bytes, ends } = part;
  const stored = bytes && ends ? bytes.subarray(index === 0 ? 0 : ends[index - 1], ends[index]) : part.texts?.[index];
  return { partition, stored };
}
