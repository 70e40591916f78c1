/**
 * StagePool: runs the stages of any number of producers in a fixed number of worker threads.
 *
 * Each producer has a queue (a lane) of its own; the lanes take turns. A group of events of one lane goes to a worker in
 * one message, as many as take about half a millisecond, so that messages cost little beside the stages and nobody waits
 * long behind others. Threads start when there is work for them.
 *
 * Every watchMs the pool looks at its busy workers. One that is still at the same event has the others taken back, for
 * other workers; one that is at it for stageTimeoutMs is ended, and the event fails. When a worker ends by itself, the
 * event that it was working on fails and the others go to other workers.
 *
 * States: open -> closing (finishes what it has) -> closed; destroy() -> closed. Thread: the environment that made it.
 * Invariant: each job is completed exactly once, unless it was cancelled.
 */
import { DiasporaError, wrapError } from '../errors.js';
import { groupEventsMax, Lane, type StageJob } from './lane.js';
import type { StageOutcome } from './run-stages.js';
import type { StageSetup } from './stage-setup.js';
import { type Remains, StageThread, type ThreadOwner } from './stage-thread.js';
import { stageWork, type WorkSource } from './stage-work.js';

/** Between two looks at the workers. */
const watchMs = 10;
/** Counted at most between two looks: when the process was stopped, or this thread busy, the workers may have been, too. */
const watchStepMax = 100;
/** For a worker to start, at least: that is no matter of stages. */
const startMsMin = 30_000;
/** Workers in a row that may end before their first event, until what they should have done fails. */
const fruitlessMax = 3;

export class StagePool implements ThreadOwner, WorkSource {
  readonly #threadsMax: number;
  readonly #stageTimeoutMs: number;
  readonly #threads: StageThread[] = [];
  /** Lanes with jobs that no worker has, in the order of their turns. */
  readonly #waiting = new Set<Lane>();
  /** Jobs without an outcome. */
  #outstanding = 0;
  #state: 'open' | 'closing' | 'closed' = 'open';
  #dispatchScheduled = false;
  #watch: NodeJS.Timeout | undefined;
  #watchedAt = 0;
  #fruitless = 0;
  #closing: Promise<void> | undefined;
  #emptied: (() => void) | undefined;
  /** Of the workers that were destroyed; who destroys again waits for them as well. */
  #ended: Promise<unknown> = Promise.resolve();
  readonly #setups = new WeakSet<StageSetup>();
  /** Lets workers forget the stages of handles that were collected. */
  readonly #collected = new FinalizationRegistry<number>((id) => {
    for (const thread of this.#threads) thread.forget(id);
  });

  constructor(threads: number, stageTimeoutMs: number) {
    this.#threadsMax = threads;
    this.#stageTimeoutMs = stageTimeoutMs;
  }

  get state(): 'open' | 'closing' | 'closed' {
    return this.#state;
  }

  lane(setup: StageSetup): Lane {
    if (!this.#setups.has(setup)) {
      this.#setups.add(setup);
      this.#collected.register(setup, setup.id);
    }
    return new Lane(setup);
  }

  /** The job goes to a worker at the end of the turn, or as soon as there are enough for a group. */
  submit(lane: Lane, job: StageJob): void {
    if (this.#state !== 'open') throw new DiasporaError('INVALID_STATE', 'the thread pool is closed');
    lane.queue.push(job);
    this.#waiting.add(lane);
    this.#outstanding += 1;
    this.#beBusy();
    // A loop of pushes that never yields should not find its workers idle at the end.
    if (lane.queue.length % groupEventsMax === 0) this.receive();
    else this.#dispatchSoon();
  }

  /** Their outcomes are wanted no more. */
  cancel(jobs: Iterable<StageJob>): void {
    for (const job of jobs) {
      if (job.done) continue;
      job.done = true;
      this.#outstanding -= 1;
    }
    this.#rest();
  }

  receive(): void {
    for (const thread of [...this.#threads]) thread.receive();
    this.#look();
    this.#dispatch();
  }

  /** Finishes what it has, and ends the workers. Idempotent. */
  close(): Promise<void> {
    this.#closing ??= this.#close();
    return this.#closing;
  }

  /** Ends the workers; what they have not done fails with ABORTED. Idempotent. */
  async destroy(): Promise<void> {
    this.#state = 'closed';
    const error = new DiasporaError('ABORTED', 'the thread pool was destroyed');
    for (const lane of this.#waiting) this.#failAll(lane.queue.clear(), error);
    this.#waiting.clear();
    const threads = this.#threads.splice(0);
    for (const thread of threads) for (const { jobs } of thread.groups) this.#failAll(jobs, error);
    this.#rest();
    this.#ended = Promise.all([this.#ended, ...threads.map((thread) => thread.terminate())]);
    await this.#ended;
  }

  threadReady(): void {
    this.#fruitless = 0;
    this.#dispatch();
  }

  jobDone(job: StageJob, outcome: StageOutcome): void {
    this.#complete(job, outcome);
  }

  threadAnswered(): void {
    this.#dispatch();
    this.#rest();
  }

  threadEnded(thread: StageThread, reason: DiasporaError): void {
    this.#threads.splice(this.#threads.indexOf(thread), 1);
    const wasStarting = thread.isStarting;
    const wasInStage = thread.isInStage;
    const [group] = thread.groups;
    const { begun, rest } = thread.takeBack();
    if (wasInStage) {
      this.#failAll(begun, reason);
      this.#putBack(rest);
    } else if (group !== undefined) {
      // It was making the stages of that lane.
      const { lane } = group;
      this.#putBack([[lane, begun], ...rest]);
      lane.fruitless += 1;
      if (lane.fruitless >= fruitlessMax) this.#giveUp(lane, reason);
    } else if (wasStarting) {
      this.#fruitless += 1;
      if (this.#fruitless >= fruitlessMax) this.#giveUpAll(reason);
    }
    this.#dispatch();
    this.#rest();
  }

  async #close(): Promise<void> {
    if (this.#state === 'open') this.#state = 'closing';
    if (this.#outstanding > 0) {
      await new Promise<void>((resolve) => {
        this.#emptied = resolve;
      });
    }
    await this.destroy();
  }

  #complete(job: StageJob, outcome: StageOutcome): void {
    if (job.done) return;
    job.done = true;
    this.#outstanding -= 1;
    job.complete(outcome);
  }

  #failAll(jobs: Iterable<StageJob>, { code, message, cause }: DiasporaError): void {
    for (const job of jobs) {
      // Each has its own: their topics differ.
      const thrown = new DiasporaError(code, message, { cause });
      this.#complete(job, { partition: undefined, stored: undefined, step: 'validator', thrown });
    }
  }

  /** No worker can make the stages: what waits for them fails. */
  #giveUp(lane: Lane, reason: DiasporaError): void {
    lane.fruitless = 0;
    this.#waiting.delete(lane);
    this.#failAll(lane.queue.clear(), reason);
  }

  /** No worker starts. */
  #giveUpAll(reason: DiasporaError): void {
    this.#fruitless = 0;
    for (const lane of [...this.#waiting]) this.#giveUp(lane, reason);
  }

  #putBack(rest: Remains['rest']): void {
    // The oldest group comes last, and so to the front.
    for (const [lane, jobs] of [...rest].reverse()) {
      lane.queue.putBack(jobs);
      if (lane.queue.length > 0) this.#waiting.add(lane);
    }
  }

  #dispatchSoon(): void {
    if (this.#dispatchScheduled) return;
    this.#dispatchScheduled = true;
    queueMicrotask(() => {
      this.#dispatchScheduled = false;
      this.#dispatch();
    });
  }

  #dispatch(): void {
    while (this.#waiting.size > 0) {
      const thread = this.#pickThread();
      if (thread === undefined) return;
      const lane = this.#waiting.values().next().value as Lane;
      this.#waiting.delete(lane);
      const jobs = lane.take();
      if (lane.queue.length > 0) this.#waiting.add(lane);
      if (jobs.length > 0) thread.send(lane, jobs);
    }
  }

  /** One that has the least to do; starts another when all are busy. */
  #pickThread(): StageThread | undefined {
    let best: StageThread | undefined;
    for (const thread of this.#threads) {
      if (thread.hasRoom && (best === undefined || thread.groups.length < best.groups.length)) best = thread;
    }
    if (best === undefined || best.groups.length > 0) this.#startThread();
    return best;
  }

  /** No more than there are events for. */
  #startThread(): void {
    if (this.#threads.length >= this.#threadsMax || this.#state === 'closed') return;
    let waiting = 0;
    for (const lane of this.#waiting) waiting += lane.queue.length;
    const starting = this.#threads.filter(({ isStarting }) => isStarting).length;
    if (starting >= waiting) return;
    try {
      this.#threads.push(new StageThread(this));
    } catch (error) {
      // With others it goes on more slowly.
      if (this.#threads.length > 0) return;
      this.#giveUpAll(wrapError('RESOURCE_EXHAUSTED', 'no worker thread can be started', error));
    }
  }

  #beBusy(): void {
    if (this.#watch !== undefined) return;
    stageWork.add(this);
    this.#watchedAt = performance.now();
    this.#watch = setInterval(() => this.receive(), watchMs).unref();
  }

  /** Nothing more to do or to watch. */
  #rest(): void {
    if (this.#outstanding > 0) return;
    this.#emptied?.();
    if (this.#state !== 'closed' && this.#threads.some(({ groups }) => groups.length > 0)) return;
    clearInterval(this.#watch);
    this.#watch = undefined;
    stageWork.delete(this);
  }

  #look(): void {
    const now = performance.now();
    const passed = now - this.#watchedAt;
    if (passed < watchMs) return;
    this.#watchedAt = now;
    for (const thread of [...this.#threads]) {
      thread.look(Math.min(passed, watchStepMax));
      const limit = thread.isStarting ? Math.max(this.#stageTimeoutMs, startMsMin) : this.#stageTimeoutMs;
      if (thread.stuckMs >= limit) this.#timeOut(thread, limit);
      else if (thread.stuckMs > 0 && this.#threadsMax > 1 && thread.isInStage && !thread.isTakenFrom) {
        this.#putBack(thread.takeBack().rest);
      }
    }
  }

  /** Ends a worker whose stage, or the making of it, takes too long, and fails what it was at. */
  #timeOut(thread: StageThread, limitMs: number): void {
    this.#threads.splice(this.#threads.indexOf(thread), 1);
    const { isStarting, isInStage } = thread;
    const [group] = thread.groups;
    const what = isInStage ? 'the stages of the event' : isStarting ? 'to start' : 'to load the stages of the topic';
    const message = `${what} took longer than ${limitMs} ms; the worker thread was ended (stageTimeoutMs)`;
    const error = new DiasporaError('TIMEOUT', message);
    const { begun, rest } = thread.takeBack();
    void thread.terminate();
    this.#failAll(begun, error);
    this.#putBack(rest);
    // Other workers would take as long to load them.
    if (group !== undefined && !isInStage) this.#giveUp(group.lane, error);
    if (isStarting) this.#giveUpAll(error);
    this.#dispatch();
    this.#rest();
  }
}
