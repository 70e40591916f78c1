/**
 * The program of a pool's worker thread: makes the stages that it is told of, runs events through them, and answers.
 *
 * It has no part in Node's standard streams or the addon. It lives until it is terminated; what ends it otherwise
 * (process.exit in a module, an error that nobody catches) it tells first, since the pool may be blocked in a wait and
 * hear of nothing else.
 */
import { workerData } from 'node:worker_threads';
import { type SentDiasporaError, sendError } from './error-transport.js';
import { parseJson } from './json.js';
import { runStages, type StageRun } from './run-stages.js';
import type { FromThread, GroupMessage, PartMessage, SentFailure, ThreadData, ToThread } from './stage-messages.js';
import type { StageSetup } from './stage-setup.js';
import { resolveStages, Stages } from './stages.js';
import type { JsonSchema } from './types.js';

/** Results are told at the latest when so much time went into them: much more than telling costs, milliseconds. */
const partMs = 0.25;

const { port, signal, claims } = workerData as ThreadData;
/** By id; or why they could not be made. */
const runs = new Map<number, StageRun | { readonly failure: unknown }>();
const inbox: ToThread[] = [];
let isWorking = false;
let uncaught: SentDiasporaError | undefined;

function tell(message: FromThread, transfer: readonly ArrayBuffer[] = []): void {
  port.postMessage(message, transfer);
  Atomics.add(signal, 0, 1);
  Atomics.notify(signal, 0);
}

async function make(setup: StageSetup): Promise<StageRun> {
  const schema = setup.schema === undefined ? undefined : (JSON.parse(setup.schema) as JsonSchema);
  const stages = new Stages(await resolveStages(setup.stored, {}, setup.directories), schema);
  stages.require(setup.topic, ['validator', 'partitionSelector', 'serializer']);
  const { partitions, selects, mayChange } = setup;
  return { stages, select: selects ? stages.makeSelector(partitions) : undefined, partitions, mayChange };
}

/** The text of a partition that is no number, which the pool's side refuses by it. */
function describe(partition: unknown): string {
  try {
    return String(partition);
  } catch {
    return typeof partition;
  }
}

/** Results that are not told yet. */
class Part {
  readonly #begun = performance.now();
  readonly #selects: boolean;
  readonly #partitions: unknown[] = [];
  readonly #texts: (string | undefined)[] = [];
  readonly #bytes: Uint8Array[] = [];
  readonly #ends: number[] = [];
  readonly #failures: SentFailure[] = [];
  #storesText = false;
  #end = 0;

  constructor(selects: boolean) {
    this.#selects = selects;
  }

  get count(): number {
    return this.#texts.length;
  }

  get isDue(): boolean {
    return performance.now() - this.#begun >= partMs;
  }

  /** Why the event that is added next has failed. */
  fail(failure: Omit<SentFailure, 'index'>): void {
    this.#failures.push({ index: this.count, ...failure });
  }

  add(partition: unknown, stored: string | Uint8Array | undefined): void {
    if (this.#selects) this.#partitions.push(typeof partition === 'number' ? partition : describe(partition));
    if (typeof stored === 'object') {
      // Its serializer's until the next call.
      this.#bytes.push(stored.slice());
      this.#end += stored.length;
    }
    this.#ends.push(this.#end);
    this.#texts.push(typeof stored === 'string' ? stored : undefined);
    if (typeof stored === 'string') this.#storesText = true;
  }

  tell(isLast: boolean): void {
    let message: PartMessage = { kind: 'part', count: this.count, isLast, tookMs: performance.now() - this.#begun };
    if (this.#selects) message = { ...message, partitions: this.#partitions };
    if (this.#storesText) message = { ...message, texts: this.#texts };
    if (this.#failures.length > 0) message = { ...message, failures: this.#failures };
    if (this.#bytes.length === 0) {
      tell(message);
      return;
    }
    const bytes = new Uint8Array(this.#end);
    for (let i = 0, at = 0; i < this.#bytes.length; at += this.#bytes[i]!.length, i++) bytes.set(this.#bytes[i]!, at);
    tell({ ...message, bytes, ends: this.#ends }, [bytes.buffer]);
  }
}

/** Runs one event and adds its result. */
function runOne(run: StageRun | { readonly failure: unknown }, message: GroupMessage, index: number, part: Part): void {
  if ('failure' in run) {
    part.fail({ step: 'validator', error: sendError(run.failure) });
    part.add(undefined, undefined);
    return;
  }
  const text = message.text.slice(index === 0 ? 0 : message.ends[index - 1], message.ends[index]);
  const outcome = runStages(run, {
    read: () => parseJson(text),
    text,
    isVerbatim: message.isVerbatim?.[index] ?? true,
    data: undefined,
    requested: message.requested?.[index],
  });
  const { stored, step, thrown } = outcome;
  if (step !== undefined) part.fail({ step, error: sendError(thrown) });
  part.add(outcome.partition, stored === text ? undefined : stored);
}

function runGroup(message: GroupMessage): void {
  const run = runs.get(message.setup) ?? { failure: new Error(`setup ${message.setup} was never sent`) };
  const selects = 'select' in run && run.select !== undefined;
  let part = new Part(selects);
  for (;;) {
    const index = Atomics.add(claims, message.slot, 1);
    if (index >= message.ends.length) break;
    if (part.count > 0 && part.isDue) {
      part.tell(false);
      part = new Part(selects);
    }
    runOne(run, message, index, part);
  }
  part.tell(true);
}

async function work(): Promise<void> {
  isWorking = true;
  for (let message = inbox.shift(); message !== undefined; message = inbox.shift()) {
    if (message.kind === 'group') runGroup(message);
    else if (message.kind === 'forget') runs.delete(message.id);
    else runs.set(message.setup.id, await make(message.setup).catch((failure: unknown) => ({ failure })));
  }
  isWorking = false;
}

process.on('uncaughtExceptionMonitor', (error) => {
  uncaught = sendError(error);
});
process.on('exit', (code) => tell({ kind: 'ending', code, error: uncaught }));
port.on('message', (message: ToThread) => {
  inbox.push(message);
  if (!isWorking) void work();
});
tell({ kind: 'ready' });
