/**
 * The runtime: one per environment (main thread or worker); the only receiver of the core's completions.
 *
 * It hands completions to requests, producers, consumers and drivers, counts what must keep the event loop alive, and
 * blocks the thread for `Future.wait`, which takes in the results of stages in workers as well. Internal; what it calls only settles state and resolves promises.
 *
 * Invariants: a request is completed exactly once; sinks that have nothing pending are held weakly or not at all, so
 * that a forgotten producer, consumer or driver can be collected; the loop is kept alive exactly while `holds` > 0.
 */
import { DiasporaError, type ErrorOperands, fromNative } from './errors.js';
import {
  COMPLETION_STRIDE,
  CompletionKind,
  loadBinding,
  type NativeAssignment,
  type NativeBinding,
  type NativeError,
} from './native.js';
import { stageWork } from './stages/stage-work.js';

/** A producer's side of batch completions. */
export interface BatchSink {
  batchCompleted(partition: number, batch: number, firstId: number, error: NativeError | undefined): void;
}

/** A consumer's side of deliveries. */
export interface DeliverySink {
  deliveryWaits(): void;
  consumerFailed(partition: number, error: NativeError): void;
  assignmentChanged(granted: readonly number[], revoked: readonly number[]): void;
  partitionEnded(partition: number, seeks: number): void;
}

/** A driver's side of connection changes. */
export interface ConnectionSink {
  serverLost(server: number, attempt: number, error: NativeError): void;
  serverUp(server: number): void;
}

/** A line for the operator. */
export interface LogLine {
  readonly level: 'info' | 'warn';
  readonly message: string;
}

type RequestCallback = (error: DiasporaError | undefined, result: unknown) => void;

interface PendingRequest {
  readonly operands: ErrorOperands;
  readonly done: RequestCallback;
}

/** Most milliseconds of one native wait; longer waits are made of several, so that no 32-bit timer is exceeded. */
const waitSliceMs = 2 ** 30;
/** While workers run stages, a wait sleeps until they tell something, and looks so often whether the core has. */
const stageSliceMs = 1;

function isNativeError(payload: unknown): payload is NativeError {
  return typeof payload === 'object' && payload !== null && 'code' in payload && 'message' in payload;
}

export class Runtime {
  readonly binding: NativeBinding;
  /** Producers with batches that are not yet completed. */
  readonly producers: Map<number, BatchSink> = new Map();
  readonly consumers: Map<number, WeakRef<DeliverySink>> = new Map();
  readonly drivers: Map<number, WeakRef<ConnectionSink>> = new Map();
  /** Functions that are given the lines of this thread, and by how many drivers and servers each was given. */
  readonly #logListeners = new Map<(line: LogLine) => void, number>();
  readonly #requests = new Map<number, PendingRequest>();
  /** Objects that must not be collected because something of theirs is pending. */
  readonly #retained = new Set<object>();
  /** Requests that the core refused at once. */
  #startFailures: [id: number, error: DiasporaError][] = [];
  #nextRequest = 1;
  #holds = 0;
  #draining = false;

  constructor(binding: NativeBinding) {
    this.binding = binding;
    binding.initialize((records, count, payloads) => this.#onDrain(records, count, payloads));
  }

  /** Keeps the event loop alive until the matching release(). */
  hold(): void {
    this.#holds += 1;
    if (this.#holds === 1) this.binding.keepAlive(true);
  }

  release(): void {
    this.#holds -= 1;
    if (this.#holds === 0) this.binding.keepAlive(false);
  }

  /** Gives `listener` the lines of this thread, until it was removed as often as it was added. */
  addLogListener(listener: ((line: LogLine) => void) | undefined): void {
    if (listener !== undefined) this.#logListeners.set(listener, (this.#logListeners.get(listener) ?? 0) + 1);
  }

  removeLogListener(listener: ((line: LogLine) => void) | undefined): void {
    if (listener === undefined) return;
    const times = (this.#logListeners.get(listener) ?? 0) - 1;
    if (times > 0) this.#logListeners.set(listener, times);
    else this.#logListeners.delete(listener);
  }

  /** hold(), and `owner` is not collected meanwhile. */
  retain(owner: object): void {
    this.#retained.add(owner);
    this.hold();
  }

  unretain(owner: object): void {
    if (this.#retained.delete(owner)) this.release();
  }

  /**
   * Starts a native request; `done` is called exactly once, never before this returns. The loop is kept alive until then.
   */
  request(start: (requestId: number) => void, operands: ErrorOperands, done: RequestCallback): void {
    const id = this.#nextRequest;
    this.#nextRequest += 1;
    this.#requests.set(id, { operands, done });
    this.hold();
    try {
      start(id);
    } catch (error) {
      // Not from here: callers rely on `done` coming later. Taken in by the next drain or microtask, whichever is first.
      this.#startFailures.push([id, fromNative(error)]);
      queueMicrotask(() => this.#settleStartFailures());
    }
  }

  /** request() as a promise. */
  call<T>(start: (requestId: number) => void, operands: ErrorOperands = {}): Promise<T> {
    return new Promise((resolve, reject) => {
      this.request(start, operands, (error, result) => {
        if (error) reject(error);
        else resolve(result as T);
      });
    });
  }

  /** Takes in what has completed, without waiting for the event loop. */
  drain(): void {
    this.#settleStartFailures();
    if (this.#draining) return;
    this.binding.drain();
    stageWork.receive();
  }

  /**
   * Blocks until `isSettled()` or until `ms` milliseconds have passed (negative: for ever). Returns isSettled().
   * INVALID_STATE when called from a function that a consumer calls: its caller is what would have to go on.
   */
  waitUntil(isSettled: () => boolean, ms: number): boolean {
    if (this.#draining) {
      throw new DiasporaError(
        'INVALID_STATE',
        'wait() must not be called from a data selector, an allocator, onAssign or onRevoke',
      );
    }
    const deadline = ms < 0 ? Infinity : performance.now() + ms;
    for (;;) {
      this.#settleStartFailures();
      stageWork.receive();
      if (isSettled()) return true;
      if (this.binding.drain()) continue;
      const left = deadline - performance.now();
      if (left <= 0) return false;
      if (stageWork.isBusy) stageWork.wait(Math.min(left, stageSliceMs));
      else this.binding.waitForCompletions(Math.min(Math.ceil(left), waitSliceMs));
    }
  }

  #onDrain(records: Float64Array, count: number, payloads: readonly unknown[]): void {
    this.#draining = true;
    for (let at = 0; at < count * COMPLETION_STRIDE; at += COMPLETION_STRIDE) {
      const payload = records[at + 5] as number;
      try {
        this.#dispatch(records, at, payload < 0 ? undefined : payloads[payload]);
      } catch (error) {
        // A bug of ours: shown as an uncaught exception, but not thrown through the core.
        queueMicrotask(() => {
          throw error;
        });
      }
    }
    this.#draining = false;
  }

  #dispatch(records: Float64Array, at: number, payload: unknown): void {
    const target = records[at + 1] as number;
    const a = records[at + 2] as number;
    const b = records[at + 3] as number;
    switch (records[at] as CompletionKind) {
      case CompletionKind.Batch: {
        const error = isNativeError(payload) ? payload : undefined;
        this.producers.get(target)?.batchCompleted(a, b, records[at + 4] as number, error);
        return;
      }
      case CompletionKind.Request:
        this.#completeRequest(target, payload);
        return;
      case CompletionKind.Delivery:
        this.consumers.get(target)?.deref()?.deliveryWaits();
        return;
      case CompletionKind.ConsumerError:
        this.consumers
          .get(target)
          ?.deref()
          ?.consumerFailed(a, payload as NativeError);
        return;
      case CompletionKind.Assignment: {
        const { granted, revoked } = payload as NativeAssignment;
        this.consumers.get(target)?.deref()?.assignmentChanged(granted, revoked);
        return;
      }
      case CompletionKind.PartitionEnd:
        this.consumers.get(target)?.deref()?.partitionEnded(a, b);
        return;
      case CompletionKind.ServerLost:
        this.drivers
          .get(target)
          ?.deref()
          ?.serverLost(a, b, payload as NativeError);
        return;
      case CompletionKind.ServerUp:
        this.drivers.get(target)?.deref()?.serverUp(a);
        return;
      case CompletionKind.Log:
        for (const listener of this.#logListeners.keys()) listener(payload as LogLine);
    }
  }

  #settleStartFailures(): void {
    if (this.#startFailures.length === 0) return;
    const failures = this.#startFailures;
    this.#startFailures = [];
    for (const [id, error] of failures) this.#completeRequest(id, error);
  }

  #completeRequest(id: number, payload: unknown): void {
    const request = this.#requests.get(id);
    if (request === undefined) return;
    this.#requests.delete(id);
    this.release();
    // A result that happens to have `code` and `message` does not exist: see the results named in native.ts.
    if (isNativeError(payload)) request.done(fromNative(payload, request.operands), undefined);
    else request.done(undefined, payload);
  }
}

let instance: Runtime | undefined;

/** The runtime of this environment; the first call loads the addon (NATIVE_MISSING when there is none). */
export function runtime(): Runtime {
  instance ??= new Runtime(loadBinding());
  return instance;
}

/** For tests: a core of theirs in place of the addon's, before the first use of anything. */
export function installBinding(binding: NativeBinding): Runtime {
  instance = new Runtime(binding);
  return instance;
}

// Objects that were collected without being closed leave their entry behind; this takes it out. What is held is the entry
// and never a closure: a closure would share its scope, and with it the object, and so keep it alive for ever.
const forgotten = new FinalizationRegistry<readonly [Map<number, unknown>, number]>(([map, id]) => map.delete(id));

/** Enters `sink` weakly under `id`, until unregister() or until it is collected. */
export function registerWeakly<T extends object>(map: Map<number, WeakRef<T>>, id: number, sink: T): void {
  map.set(id, new WeakRef(sink));
  forgotten.register(sink, [map, id], sink);
}

export function unregister<T extends object>(map: Map<number, WeakRef<T>>, id: number, sink: T): void {
  forgotten.unregister(sink);
  map.delete(id);
}
