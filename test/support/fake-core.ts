/**
 * A core in JavaScript, for tests of what lib does around the native one: it stores events in memory, and a test decides
 * when batches are acknowledged and what fails. Batches are acknowledged at once unless `paused`.
 */
import {
  COMPLETION_STRIDE,
  CompletionKind,
  type NativeBinding,
  type NativeConsumer,
  type NativeConsumerOptions,
  type NativeDelivery,
  type NativeDriver,
  type NativeError,
  type NativeProducer,
  type NativeProducerOptions,
  type NativeServer,
  type NativeServerOptions,
  type NativeTopicEntry,
  type Segment,
} from '../../lib/native.js';

type Completion = [kind: CompletionKind, target: number, a: number, b: number, c: number, payload: unknown];

interface StoredEvent {
  readonly metadata: Buffer;
  readonly data: Buffer;
}

interface FakeBatch {
  readonly producer: number;
  readonly topic: string;
  readonly partition: number;
  readonly number: number;
  readonly events: StoredEvent[];
}

interface FakeConsumer {
  readonly id: number;
  readonly options: NativeConsumerOptions;
  /** Next id to deliver, per requested partition. */
  readonly next: number[];
  notified: boolean;
}

export function coreError(code: string, message: string = code): Error {
  return Object.assign(new Error(message), { code });
}

function bytesOf(segment: Segment): Buffer {
  return ArrayBuffer.isView(segment)
    ? Buffer.from(segment.buffer, segment.byteOffset, segment.byteLength)
    : Buffer.from(segment);
}

function bytesOfAll(data: Segment | readonly Segment[] | undefined): Buffer {
  if (data === undefined) return Buffer.alloc(0);
  const segments = (Array.isArray(data) ? data : [data]) as readonly Segment[];
  if (segments.some((segment) => !ArrayBuffer.isView(segment) && !(segment instanceof ArrayBuffer))) {
    throw coreError('INVALID_DATA', 'the data is not a buffer');
  }
  return Buffer.concat(segments.map(bytesOf));
}

function deliver(partition: number, firstId: number, events: readonly StoredEvent[], full: boolean): NativeDelivery {
  const metadata = Buffer.concat(events.map((event) => event.metadata));
  const head = Buffer.from(new ArrayBuffer(events.length * 16 + metadata.length));
  let metadataEnd = 0;
  let dataEnd = 0;
  events.forEach((event, index) => {
    metadataEnd += event.metadata.length;
    dataEnd += event.data.length;
    head.writeUInt32LE(metadataEnd, index * 16);
    head.writeBigUInt64LE(BigInt(dataEnd), index * 16 + 8);
  });
  metadata.copy(head, events.length * 16);
  const data = new Uint8Array(Buffer.concat(events.map((event) => event.data))).buffer;
  return {
    partition,
    firstId,
    count: events.length,
    head: head.buffer as ArrayBuffer,
    metadataBytes: metadata.length,
    data: full ? data : undefined,
    dataOffset: 0,
    dataBytes: dataEnd,
  };
}

export class FakeCore {
  /** Sealed batches wait for `acknowledge` or `fail`. */
  paused = false;
  /** Fails the next request of a kind. */
  readonly refusals = new Map<string, NativeError>();
  /** Every call that a test may want to see, as text. */
  readonly calls: string[] = [];
  alive = false;
  /** Events of one delivery. */
  deliveryEvents: number = 4;
  /** Revocations that are to be noticed before take() gives anything. */
  heldBack: number = 0;
  pendingBytesMax: number = Number.POSITIVE_INFINITY;
  readonly catalogues: NativeTopicEntry[][] = [];
  readonly sealed: FakeBatch[] = [];
  readonly #topics = new Map<string, StoredEvent[][]>();
  readonly #cursors = new Map<string, number>();
  readonly #consumers = new Map<number, FakeConsumer>();
  readonly #queue: Completion[] = [];
  #onDrain: Parameters<NativeBinding['initialize']>[0] = () => undefined;
  #scheduled = false;
  #nextId = 1;

  constructor(servers: number = 1) {
    for (let i = 0; i < servers; i += 1) this.catalogues.push([]);
  }

  uuid(server: number): string {
    return String(server).padStart(32, '0');
  }

  consumerIds(): number[] {
    return [...this.#consumers.keys()];
  }

  complete(...completion: Completion): void {
    this.#queue.push(completion);
    if (this.#scheduled) return;
    this.#scheduled = true;
    setImmediate(() => {
      this.#scheduled = false;
      this.drain();
    });
  }

  drain(): boolean {
    if (this.#queue.length === 0) return false;
    const completions = this.#queue.splice(0);
    const records = new Float64Array(completions.length * COMPLETION_STRIDE);
    const payloads: unknown[] = [];
    completions.forEach(([kind, target, a, b, c, payload], index) => {
      const position = payload === undefined ? -1 : payloads.push(payload) - 1;
      records.set([kind, target, a, b, c, position], index * COMPLETION_STRIDE);
    });
    this.#onDrain(records, completions.length, payloads);
    return true;
  }

  /** Stores the oldest sealed batches. */
  acknowledge(count: number = this.sealed.length): void {
    for (const batch of this.sealed.splice(0, count)) this.#store(batch);
  }

  /** Fails the oldest sealed batch. */
  fail(code: string): void {
    const batch = this.sealed.shift();
    if (batch === undefined) throw new Error('no batch is sealed');
    this.complete(CompletionKind.Batch, batch.producer, batch.partition, batch.number, 0, { code, message: code });
  }

  stored(topic: string, partition: number): StoredEvent[] {
    const partitions = this.#topics.get(topic) ?? [];
    this.#topics.set(topic, partitions);
    partitions[partition] ??= [];
    return partitions[partition];
  }

  #store(batch: FakeBatch): void {
    const log = this.stored(batch.topic, batch.partition);
    const firstId = log.length;
    log.push(...batch.events);
    this.complete(CompletionKind.Batch, batch.producer, batch.partition, batch.number, firstId, undefined);
    for (const consumer of this.#consumers.values()) this.#notify(consumer);
  }

  #notify(consumer: FakeConsumer): void {
    if (consumer.notified || this.#peek(consumer) === undefined) return;
    consumer.notified = true;
    this.complete(CompletionKind.Delivery, consumer.id, 0, 0, 0, undefined);
  }

  /** Position in `partitions` of a partition with events. */
  #peek({ options, next }: FakeConsumer): number | undefined {
    const index = options.partitions.findIndex(
      (partition, position) => this.stored(options.topicUuid, partition).length > (next[position] as number),
    );
    return index < 0 ? undefined : index;
  }

  #request(kind: string, id: number, result: () => unknown): void {
    this.calls.push(kind);
    const refusal = this.refusals.get(kind);
    this.refusals.delete(kind);
    this.complete(CompletionKind.Request, id, 0, 0, 0, refusal ?? result());
  }

  #openProducer(options: NativeProducerOptions): NativeProducer {
    const id = this.#nextId++;
    const open = new Map<number, FakeBatch>();
    const numbers = new Map<number, number>();
    let destroyed = false;
    const batchBytes = (batches: readonly FakeBatch[]): number =>
      batches
        .flatMap(({ events }) => events)
        .reduce((sum, { metadata, data }) => sum + metadata.length + data.length, 0);
    const mine = (): FakeBatch[] => this.sealed.filter((batch) => batch.producer === id);
    const inFlight = (partition: number): number => mine().filter((batch) => batch.partition === partition).length;
    const pending = (): [number, number, number] => {
      const batches = [...open.values(), ...mine()];
      return [batches.flatMap(({ events }) => events).length, batches.length, batchBytes(batches)];
    };
    const sealOne = (partition: number): number => {
      const batch = open.get(partition);
      if (batch === undefined) return 0;
      open.delete(partition);
      this.sealed.push(batch);
      if (!this.paused) this.acknowledge();
      return 1;
    };
    return {
      id,
      inFlight,
      pending,
      push: (partition, text, data) => {
        if (destroyed) throw coreError('INVALID_STATE');
        const event = { metadata: Buffer.from(text), data: Buffer.from(bytesOfAll(data)) };
        // As the core counts: of other producers what is sealed.
        if (batchBytes([...open.values(), ...this.sealed]) >= this.pendingBytesMax) throw coreError('QUEUE_FULL');
        let batch = open.get(partition);
        if (batch === undefined) {
          const number = (numbers.get(partition) ?? 0) + 1;
          numbers.set(partition, number);
          batch = { producer: id, topic: options.topicUuid, partition, number, events: [] };
          open.set(partition, batch);
        }
        const index = batch.events.push(event) - 1;
        const full = batch.events.length === (options.batchEvents === 0 ? 1000 : options.batchEvents);
        if (full || (options.batchEvents === 0 && inFlight(partition) === 0)) sealOne(partition);
        return index;
      },
      seal: (partition) => {
        this.calls.push(`seal ${partition}`);
        if (partition >= 0) return sealOne(partition);
        return [...open.keys()].reduce((sum, each) => sum + sealOne(each), 0);
      },
      destroy: () => {
        if (destroyed) return;
        destroyed = true;
        this.calls.push('producerDestroy');
        const abandoned = [...mine(), ...open.values()];
        this.sealed.splice(0, this.sealed.length, ...this.sealed.filter((batch) => batch.producer !== id));
        const error = { code: 'ABORTED', message: 'destroyed' };
        for (const { partition, number } of abandoned) {
          this.complete(CompletionKind.Batch, id, partition, number, 0, error);
        }
      },
    };
  }

  #openConsumer(request: number, given: NativeConsumerOptions): NativeConsumer {
    const id = this.#nextId++;
    // The member of a group is alone in it: it gets all partitions.
    const all = given.placement.map((_, partition) => partition);
    const options = given.member === undefined ? given : { ...given, partitions: all, start: all.map(() => -1) };
    if (given.member !== undefined)
      this.complete(CompletionKind.Assignment, id, 0, 0, 0, { granted: all, revoked: [] });
    const next = options.partitions.map((partition, position) => {
      const start = options.start[position] as number;
      if (start >= 0) return start;
      if (start === -3) return 0;
      if (start === -2) return this.stored(options.topicUuid, partition).length;
      if (start === -3) return 0;
      return this.#cursors.get(`${options.topicUuid}/${options.name}/${partition}`) ?? 0;
    });
    const consumer: FakeConsumer = { id, options, next, notified: false };
    this.#consumers.set(id, consumer);
    this.#request('consumerOpen', request, () => undefined);
    this.#notify(consumer);
    return {
      id,
      take: () => {
        if (this.heldBack > 0) return null;
        const position = this.#peek(consumer);
        if (position === undefined) {
          consumer.notified = false;
          return undefined;
        }
        const partition = options.partitions[position] as number;
        const firstId = next[position] as number;
        const limit = options.batchEvents === 0 ? this.deliveryEvents : options.batchEvents;
        const events = this.stored(options.topicUuid, partition).slice(firstId, firstId + limit);
        next[position] = firstId + events.length;
        return deliver(partition, firstId, events, options.fullData);
      },
      fetch: (fetchRequest, partition, eventId, ranges, destination) => {
        const { data } = this.stored(options.topicUuid, partition)[eventId] as StoredEvent;
        const parts: Buffer[] = [];
        for (let i = 0; i < ranges.length; i += 2) {
          const offset = ranges[i] as number;
          parts.push(data.subarray(offset, offset + (ranges[i + 1] as number)));
        }
        this.#request('fetch', fetchRequest, () => {
          let left = Buffer.concat(parts);
          for (const segment of destination) {
            left.copy(bytesOf(segment));
            left = left.subarray(segment.byteLength);
          }
          return undefined;
        });
      },
      acknowledge: (ackRequest, partition, eventId) => {
        this.calls.push(`acknowledge ${partition}:${eventId}`);
        this.#cursors.set(`${options.topicUuid}/${options.name}/${partition}`, eventId + 1);
        this.#request('acknowledge', ackRequest, () => undefined);
      },
      seek: (partition, start) => {
        next[options.partitions.indexOf(partition)] = Math.max(start, 0);
        this.#notify(consumer);
      },
      goOn: () => {
        this.heldBack -= 1;
      },
      release: (partition) => this.calls.push(`release ${partition}`),
      destroy: () => {
        this.#consumers.delete(id);
      },
    };
  }

  /** The whole boundary. */
  binding(): NativeBinding {
    const counters = {
      dataBytesByRma: 0,
      dataBytesCopied: 0,
      dataBytes: 0,
      eventsProduced: 0,
      eventsConsumed: 0,
      batches: 0,
      reconnects: 0,
      registrations: 0,
    };
    const catalogue = (server: number): NativeTopicEntry[] => this.catalogues[server] as NativeTopicEntry[];
    const started = (options: NativeServerOptions): unknown => ({
      uuid: this.uuid(0),
      port: options.listenHost === '' ? 0 : 4711,
      providers: [],
    });
    return {
      version: 'fake',
      initialize: (onDrain) => {
        this.#onDrain = onDrain;
      },
      drain: () => this.drain(),
      waitForCompletions: (ms) => {
        if (this.#queue.length > 0) return true;
        if (ms < 0 || ms > 1000) throw new Error('the fake core would wait for ever');
        Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, ms);
        return false;
      },
      keepAlive: (on) => {
        this.alive = on;
      },
      fabricInfo: (id) =>
        this.#request('fabricInfo', id, () => ({ library: { path: '', version: '' }, providers: [] })),
      serverStart: (id, options) => {
        this.#request('serverStart', id, () => started(options));
        return {} as NativeServer;
      },
      serverStop: (id) => this.#request('serverStop', id, () => undefined),
      serverCounters: () => ({ ...counters, sessions: 0, providers: [] }),
      driverOpen: (id) => {
        const uuids = this.catalogues.map((_, server) => this.uuid(server));
        this.#request('driverOpen', id, () => ({ id: 1, uuids }));
        return {} as NativeDriver;
      },
      driverId: () => 1,
      driverSetAddress: (_driver, server, host, port) => {
        this.calls.push(`setAddress ${server} ${host}:${port}`);
      },
      driverCounters: () => ({ ...counters, providers: this.catalogues.map(() => 'local') }),
      driverClose: (id) => this.#request('driverClose', id, () => undefined),
      topicPut: (id, _driver, server, entry) =>
        this.#request(`topicPut ${server} ${entry.state}`, id, () => {
          const others = catalogue(server).filter(({ uuid }) => uuid !== entry.uuid);
          if (others.some(({ name }) => name === entry.name)) return { code: 'TOPIC_EXISTS', message: entry.name };
          this.catalogues[server] = [...others, entry];
          return undefined;
        }),
      topicRemove: (id, _driver, server, uuid) =>
        this.#request(`topicRemove ${server}`, id, () => {
          this.catalogues[server] = catalogue(server).filter((entry) => entry.uuid !== uuid);
          return undefined;
        }),
      topicList: (id, _driver, server, name) =>
        this.#request(`topicList ${server}`, id, () => catalogue(server).filter((e) => name === '' || e.name === name)),
      topicStatus: (id, _driver, server, uuid) =>
        this.#request(`topicStatus ${server}`, id, () => {
          const entry = catalogue(server).find((each) => each.uuid === uuid);
          const mine = (entry?.placement ?? []).flatMap((owner, at) => (owner === this.uuid(server) ? [at] : []));
          return mine.map((partition) => ({ partition, firstId: 0, nextId: this.stored(uuid, partition).length }));
        }),
      cursorSet: (id, _driver, _server, { topicUuid, consumer, partition, start }) => {
        this.#request('cursorSet', id, () => {
          this.#cursors.set(`${topicUuid}/${consumer}/${partition}`, Math.max(start, 0));
        });
      },
      topicCursors: (id, _driver, server) => this.#request(`topicCursors ${server}`, id, () => []),
      producerOpen: (_driver, options) => this.#openProducer(options),
      consumerOpen: (request, _driver, options) => this.#openConsumer(request, options),
      allocate: (bytes) => new ArrayBuffer(bytes),
      checkCompression: () => undefined,
    };
  }
}
