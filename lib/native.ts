/**
 * The boundary to the C++ core: the flat functions that the addon exports, typed, and the loader that finds the addon.
 *
 * What it is not: no policy and no classes live here. Everything below is internal; `lib/index.ts` does not export it.
 *
 * Completions. Native threads never call JS one event at a time: each environment (main thread or worker) has one
 * coalesced notification that calls the `onDrain` given to `initialize` with everything that has completed since. JS may
 * also ask for it at any moment with `drain()`, and may block until there is something with `waitForCompletions()`; that
 * is how `Future.completed` and `Future.wait` work in a loop that never yields. `onDrain` must only settle state and
 * resolve promises; it must not throw.
 *
 * Thread: every function belongs to the environment that loaded the addon.
 */

import { existsSync, readFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { dirname, join, resolve } from 'node:path';
import { fileURLToPath } from 'node:url';
import { DiasporaError } from './errors.js';

/** What a completion is about; the first number of a record. */
export const enum CompletionKind {
  /** A request is done. target = request id; payload = result, or NativeError. */
  Request = 1,
  /**
   * A batch is acknowledged or has failed. target = producer id, a = partition, b = batch number, c = id of its first
   * event (below 2^53); payload = NativeError when it failed as a whole.
   */
  Batch = 2,
  /** Deliveries wait for `take()`. target = consumer id. Sent once until `take()` has returned undefined. */
  Delivery = 3,
  /**
   * A consumer failed for good, or one partition of it did. target = consumer id, a = partition or -1;
   * payload = NativeError.
   */
  ConsumerError = 4,
  /**
   * The connection to a server is lost or could not be made; the core will retry. target = driver id,
   * a = server index, b = attempt; payload = NativeError. JS may answer with driverSetAddress (the group file may name a
   * new address).
   */
  ServerLost = 5,
  /** The connection is (again) up. target = driver id, a = server index. */
  ServerUp = 6,
  /** A line for the operator. target = server id or 0; payload = { level: 'info' | 'warn', message }. */
  Log = 7,
  /**
   * Nothing follows the deliveries of a partition: its topic is complete. target = consumer id, a = partition, b = how
   * often seek() had been called for it.
   */
  PartitionEnd = 8,
  /** A member of a consumer group got partitions, or is to release some. target = consumer id; payload = NativeAssignment. */
  Assignment = 9,
}

/** Numbers of one completion record: [kind, target, a, b, c, index into payloads or -1]. */
export const COMPLETION_STRIDE = 6;

export interface NativeError {
  readonly code: string;
  readonly message: string;
}

/** Opaque natives; type-tagged externals. */
export interface NativeDriver {
  readonly __driver: never;
}
export interface NativeServer {
  readonly __server: never;
}

/** Memory of one data segment. */
export type Segment = ArrayBuffer | SharedArrayBuffer | ArrayBufferView;

export interface NativeProviderInfo {
  name: string;
  family: string;
  version: string;
  messageBytesMax: number;
  hasWaitFd: boolean;
  sameHostOnly: boolean;
}

export interface NativeFabricInfo {
  library: { path: string; version: string } | NativeError;
  /** Best first; `local` last. */
  providers: NativeProviderInfo[];
}

/** Counters of one driver or server, kept by the native core; monotonic but for what is called present. */
export interface NativeCounters {
  /** Bytes of event data that crossed by RMA (read from producers, written to consumers). */
  dataBytesByRma: number;
  /** Bytes of event data copied by our own code in this process (gathering, inline sending and receiving). */
  dataBytesCopied: number;
  /** Bytes of event data in total: produced or consumed through this object. */
  dataBytes: number;
  eventsProduced: number;
  eventsConsumed: number;
  batches: number;
  reconnects: number;
  /** Present memory registrations. */
  registrations: number;
  /** Provider of each session, by server index; '' while not connected. Empty for a server. */
  providers: string[];
}

export interface NativeServerCounters extends NativeCounters {
  /** Clients connected at present. */
  sessions: number;
}

export interface NativeServerOptions {
  /** Empty: everything in memory. */
  dataDirectory: string;
  /** Numeric IP; empty: no listening socket (embedded). */
  listenHost: string;
  listenPort: number;
  /** As FabricOptions.provider; a comma-separated list is allowed. 'local' for embedded. */
  provider: string;
  /** Bound on the memory for batches, bytes. */
  memoryBytes: number;
}

export interface NativeServerStarted {
  /** 32 hexadecimal digits, kept in the data directory. */
  uuid: string;
  /** 0 when it does not listen. */
  port: number;
  providers: NativeProviderInfo[];
}

export interface NativeDriverOptions {
  /** Servers in group order; host is a numeric IP or a name. Empty when `embedded` is given. */
  servers: { host: string; port: number; uuid: string }[];
  embedded?: NativeServer;
  /** For each connection to a server the providers, with commas. */
  rails: readonly string[];
  connectTimeoutMs: number;
  /** How long a lost connection is retried before pending work fails with CONNECTION_LOST. */
  reconnectTimeoutMs: number;
  /** Segments of at least so many bytes are not copied. 1: none is ever copied. */
  zeroCopyThreshold: number;
  /** Hard limit on bytes pushed and not yet acknowledged, per driver. */
  pendingBytesMax: number;
}

export interface NativeDriverOpened {
  id: number;
  /** What each server said its uuid is, by server index. */
  uuids: string[];
}

/** One entry of a server's catalogue. */
export interface NativeTopicEntry {
  name: string;
  uuid: string;
  state: 'creating' | 'active' | 'deleting' | 'complete';
  partitions: number;
  durability: 'memory' | 'os' | 'sync';
  manager: 'memory' | 'log';
  /** Owner of each partition: server uuids, one per partition. */
  placement: string[];
  /** JSON text: everything of the topic that only JS interprets. */
  config: string;
  /** Bound on the bytes of a partition, 0: none. */
  retentionBytes: number;
  /** Bound on the age of events, milliseconds, 0: none. */
  retentionAgeMs: number;
}

export interface NativePartitionStatus {
  partition: number;
  firstId: number;
  nextId: number;
}

export interface NativeCursor {
  consumer: string;
  partition: number;
  nextId: number;
}

export interface NativeProducerOptions {
  topicUuid: string;
  /** Server index of each partition. */
  placement: number[];
  /** 0: adaptive. n: a batch is sealed when it holds n events. */
  batchEvents: number;
  maxNumBatches: number;
  /** Of zstd, for the metadata of batches; 0: none. */
  compressionLevel: number;
}

/** Plain functions (not methods): each carries its producer, so that a call costs one N-API crossing. */
export interface NativeProducer {
  readonly id: number;
  /**
   * Appends an event to the open batch of `partition`. Returns its index in that batch; 0 means that a new batch was
   * begun. Batches of a partition are numbered 1, 2, 3, ... in the order in which they were begun.
   * Seals the batch when it is full, and at once when adaptive and nothing of this partition is in flight.
   * `data`: undefined, one Segment, or an array of them. Large segments are not copied: the caller keeps the views
   * referenced until the batch is done. Throws (with `code`): INVALID_DATA, EVENT_TOO_LARGE, QUEUE_FULL,
   * INVALID_STATE; nothing is appended then.
   */
  readonly push: (partition: number, metadata: string | Uint8Array, data?: Segment | readonly Segment[]) => number;
  /** Seals the open batch of `partition` (-1: of all). Returns how many were sealed. */
  readonly seal: (partition: number) => number;
  /** [events, batches, bytes] pushed and not yet acknowledged. */
  readonly pending: () => [number, number, number];
  /** Sealed and not yet acknowledged batches of `partition`. */
  readonly inFlight: (partition: number) => number;
  /** Abandons everything pending (each batch completes with ABORTED) and frees the native side. Idempotent. */
  readonly destroy: () => void;
}

export interface NativeConsumerOptions {
  topicUuid: string;
  name: string;
  placement: number[];
  /** Indices of the partitions to read. */
  partitions: number[];
  /**
   * Per requested partition: first id to read, or -1: behind the cursor of `name` (the oldest kept when it has none),
   * -2: the end, -3: the oldest kept.
   */
  start: number[];
  /** Per requested partition: the first event stored at this time or later, milliseconds since 1970; -1: see `start`. */
  startTimeMs: number[];
  /** Shares the partitions with the other members of the group `name`; `partitions` and `start` are empty then. */
  member?: { sessionTimeoutMs: number; rebalanceTimeoutMs: number };
  /** true: all data is delivered with the metadata. false: metadata and sizes only. */
  fullData: boolean;
  /** Where the next event was dropped: true: go on at the oldest kept one; false: the partition fails. */
  oldestIfDropped: boolean;
  /** Most events in one delivery; 0: as many as fit. */
  batchEvents: number;
  /** Bytes of memory into which the server may deliver ahead. */
  windowBytes: number;
  /** Deliveries ahead of take(). */
  maxNumBatches: number;
}

/** A run of consecutive events of one partition. */
export interface NativeDelivery {
  partition: number;
  firstId: number;
  count: number;
  /** Event table and metadata as in docs/formats/wire.md (batch body head), table ends re-based to this delivery. */
  head: ArrayBuffer;
  metadataBytes: number;
  /** All data of these events, in order; empty buffer when there is none; undefined when fullData is false. */
  data: ArrayBuffer | undefined;
  /** Where `data` begins in the buffer, bytes, and how long it is. */
  dataOffset: number;
  dataBytes: number;
}

export interface NativeConsumer {
  readonly id: number;
  /**
   * The next delivery; undefined when none waits, null when some may but goOn() is to be called first. Taking frees credit:
   * the server may send more.
   */
  readonly take: () => NativeDelivery | undefined | null;
  /**
   * Fetches ranges of one event's data into `destination` (their total lengths are equal). ranges = [offset, size, ...].
   * Request completes when the bytes are there. The destination is kept referenced by the request.
   */
  readonly fetch: (
    requestId: number,
    partition: number,
    eventId: number,
    ranges: Float64Array,
    destination: readonly Segment[],
  ) => void;
  /** Request: everything up to and including eventId is done. Coalesced: cumulative. */
  readonly acknowledge: (requestId: number, partition: number, eventId: number) => void;
  /** Goes on elsewhere, as in NativeConsumerOptions.start and startTimeMs; take() gives nothing of before any more. */
  readonly seek: (partition: number, start: number, startTimeMs: number) => void;
  /** An Assignment with revoked partitions was taken in, and what there was of them dropped. Until then take() gives none. */
  readonly goOn: () => void;
  /** A partition that was to be given back to the group is free. */
  readonly release: (partition: number) => void;
  readonly destroy: () => void;
}

/** Where to set the cursor of a consumer name; `start` as in NativeConsumerOptions, but not -1. */
export interface NativeCursorPosition {
  topicUuid: string;
  partition: number;
  consumer: string;
  start: number;
}

/** Payload of CompletionKind.Assignment. */
export interface NativeAssignment {
  granted: number[];
  revoked: number[];
}

/**
 * Functions with a `requestId` first complete with a CompletionKind.Request record of that id. Ids are chosen by JS,
 * positive, unique in the environment.
 */
export interface NativeBinding {
  readonly version: string;
  initialize(onDrain: (records: Float64Array, count: number, payloads: readonly unknown[]) => void): void;
  /** Calls onDrain now if anything has completed. Returns whether it did. */
  drain(): boolean;
  /**
   * Blocks this thread until a completion waits or `ms` have passed (negative: for ever). Returns whether one waits. May
   * return false after 100 ms all the same, so that a worker that waits can be terminated: callers loop.
   */
  waitForCompletions(ms: number): boolean;
  /** Keeps the event loop alive (true) or lets the process end (false). Counted by JS, set on changes only. */
  keepAlive(on: boolean): void;

  fabricInfo(requestId: number, provider: string): void; // -> NativeFabricInfo

  serverStart(requestId: number, options: NativeServerOptions): NativeServer; // -> NativeServerStarted
  serverStop(requestId: number, server: NativeServer): void; // flushes, closes -> undefined
  serverCounters(server: NativeServer): NativeServerCounters;

  /** Connects to every server. -> NativeDriverOpened once all are up, or an error naming the address. */
  driverOpen(requestId: number, options: NativeDriverOptions): NativeDriver;
  driverId(driver: NativeDriver): number;
  driverSetAddress(driver: NativeDriver, server: number, host: string, port: number): void;
  driverCounters(driver: NativeDriver): NativeCounters;
  /** Closes connections; everything pending completes with ABORTED. Request completes when native memory is idle. */
  driverClose(requestId: number, driver: NativeDriver): void;

  /**
   * Adds or replaces (same uuid) an entry. TOPIC_EXISTS: another active or deleting entry has that name. TOPIC_COMPLETE:
   * it is complete and stays so. TOPIC_NOT_FOUND: there is none to complete.
   */
  topicPut(requestId: number, driver: NativeDriver, server: number, entry: NativeTopicEntry): void;
  /** Removes entry and data of the topic; success when there is none. */
  topicRemove(requestId: number, driver: NativeDriver, server: number, uuid: string): void;
  /** -> NativeTopicEntry[], every state. name '': all. */
  topicList(requestId: number, driver: NativeDriver, server: number, name: string): void;
  /** -> NativePartitionStatus[] of the partitions that this server owns. */
  topicStatus(requestId: number, driver: NativeDriver, server: number, uuid: string): void;
  /** -> NativeCursor[] of the partitions that this server owns; of one consumer, or with '' of all. */
  topicCursors(requestId: number, driver: NativeDriver, server: number, uuid: string, consumer: string): void;
  cursorSet(requestId: number, driver: NativeDriver, server: number, cursor: NativeCursorPosition): void; // -> undefined

  producerOpen(driver: NativeDriver, options: NativeProducerOptions): NativeProducer;
  consumerOpen(requestId: number, driver: NativeDriver, options: NativeConsumerOptions): NativeConsumer; // -> undefined

  /**
   * Huge-page-backed memory for zero-copy pushes; freed when collected. From other buffers it differs only in speed.
   */
  allocate(bytes: number): ArrayBuffer;

  /** Throws COMPRESSION_MISSING where zstd cannot be loaded. */
  checkCompression(): void;
}

/** The package's own directory: the first one upwards of this file that holds its package.json. */
function packageRoot(): string {
  let directory = dirname(fileURLToPath(import.meta.url));
  for (;;) {
    const manifest = join(directory, 'package.json');
    if (existsSync(manifest) && JSON.parse(readFileSync(manifest, 'utf8')).name === 'diaspora-stream') return directory;
    const parent = dirname(directory);
    if (parent === directory) throw new DiasporaError('NATIVE_MISSING', 'package.json of diaspora-stream is not there');
    directory = parent;
  }
}

function missingError(failures: readonly { path: string; cause: unknown }[], root: string): DiasporaError {
  const lines = failures.map(
    ({ path, cause }) => `  ${path}: ${cause instanceof Error ? cause.message : String(cause)}`,
  );
  // An installed package has no cmake-js; a checkout has its tests.
  const checkout = existsSync(join(root, 'test'));
  const buildCommand = checkout ? 'npm run build' : 'npm run build:from-source';
  const message =
    `no native build of diaspora-stream could be loaded for ${process.platform}-${process.arch}, Node ${process.version}:\n` +
    `${lines.join('\n')}\n` +
    `Build it with \`${buildCommand}\` in ${root} (needs a C++20 compiler${checkout ? ' and CMake' : ' and the libfabric headers'}), or set DIASPORA_ADDON to a built .node ` +
    'file. libfabric itself is found at run time: libfabric.so.1 of the system (Debian, Ubuntu: apt install libfabric1; ' +
    'Fedora, RHEL: dnf install libfabric) or the file that DIASPORA_LIBFABRIC names.';
  return new DiasporaError('NATIVE_MISSING', message, { cause: failures.at(-1)?.cause });
}

/**
 * Loads the addon: `$DIASPORA_ADDON` when set, else what node-gyp-build finds in build/Release (a checkout) or prebuilds/
 * (the package). Throws NATIVE_MISSING with every attempt and what to do.
 */
export function loadBinding(): NativeBinding {
  const require = createRequire(import.meta.url);
  const root = packageRoot();
  const override = process.env['DIASPORA_ADDON'];
  const failures: { path: string; cause: unknown }[] = [];
  let path = root;
  try {
    path = override ? resolve(override) : (require('node-gyp-build') as { path(root: string): string }).path(root);
    return require(path) as NativeBinding;
  } catch (cause) {
    failures.push({ path, cause });
  }
  throw missingError(failures, root);
}
