/**
 * Driver: the way to topics; opens, creates, lists and deletes them, and owns the connection to the servers.
 *
 * States: open -> closing (close() was called; producers flush) -> closed; destroy() -> destroyed. An open driver does
 * not keep the process alive; pending pushes, flushes, pulls and requests do.
 */
import { resolve } from 'node:path';
import type { StandardSchemaV1 } from '@standard-schema/spec';
import { Catalogue } from './catalogue.js';
import { type Compression, readCompression, type StoredCompression } from './compression.js';
import type { DriverCounters } from './counters.js';
import type { Connection, ConnectionSettings, ServerStatus } from './drivers/connection.js';
import { defaultDataDirectory, openEmbedded } from './drivers/embedded.js';
import { openFabric } from './drivers/fabric.js';
import { DiasporaError, wrapError } from './errors.js';
import { checkName } from './names.js';
import type { NativeTopicEntry } from './native.js';
import {
  checkKeys,
  choiceOption,
  functionOption,
  integerOption,
  invalidOption,
  railsOption,
  stringOption,
} from './options.js';
import { type LogLine, runtime } from './runtime.js';
import type { JsonSchemaType, TypedJsonSchema } from './stages/schema-type.js';
import { builtInSelector } from './stages/selectors.js';
import { stageSetup } from './stages/stage-setup.js';
import { localStages, resolveStages, Stages, type StoredStages, storedStages } from './stages/stages.js';
import type { JsonSchema, StageOptions } from './stages/types.js';
import { ThreadPool, type ThreadPoolOptions } from './thread-pool.js';
import { type Child, type Durability, type PartitionManager, type Retention, TopicHandle } from './topic-handle.js';

/** Options of every kind of driver. */
export interface CommonDriverOptions {
  /** Segments of at least so many bytes are moved without a copy; 1: none is ever copied. Default: 65536. */
  readonly zeroCopyThreshold?: number;
  /** Hard limit on bytes pushed and not yet acknowledged; beyond it push rejects with QUEUE_FULL. Default: 256 MiB. */
  readonly pendingBytesMax?: number;
  /** Directories from which stages of topics may be loaded as modules. Default: none. */
  readonly modules?: string | readonly string[];
}

/** Partitions inside this process; nothing to start. */
export interface EmbeddedDriverOptions extends CommonDriverOptions {
  readonly driver?: 'embedded';
  /**
   * Directory for topics and events, or false for memory only. Drivers of one thread share it; for another thread or
   * process it is DIRECTORY_LOCKED. Default: './diaspora-data'.
   */
  readonly data?: string | false;
  /** Bound on the memory for events, bytes. Default: 1 GiB. */
  readonly memoryBytes?: number;
}

/** Servers in other processes. Needs either `groupFile` or `servers`. */
export interface FabricDriverOptions extends CommonDriverOptions {
  readonly driver: 'fabric';
  /** The file that the servers have joined. A server that comes back elsewhere is found again. */
  readonly groupFile?: string;
  /** `host:port` of every server, in the order of the group. */
  readonly servers?: readonly string[];
  /**
   * Waits until the group file names so many servers, up to connectTimeoutMs: for jobs that start beside their servers.
   * Default: the file must be there, with any number of them.
   */
  readonly minServers?: number;
  /**
   * libfabric provider: 'tcp', 'shm', 'verbs', 'cxi', 'efa' or an exact name, or several with commas. Default: 'auto',
   * the fastest that both sides share, but for shm, which both must name: a client that is killed can stop a server over it.
   * One that does not come up is given up for the next, with a line in the log.
   */
  readonly provider?: string;
  /**
   * libfabric domain: the adapter ('mlx5_0') or interface ('ib0') to move data through. Several with commas are rails:
   * one connection to each server through each, over which the partitions of a server are spread; the first meets the
   * first of the server's domains, and so on. Default: the one that has the address by which the server is reached.
   */
  readonly domain?: string;
  /**
   * Lines for the operator: connections lost, providers given up. It is given those of all drivers and servers of this
   * thread. Default: none.
   */
  readonly onLog?: (line: LogLine) => void;
  /** For finding the servers, and again for connecting to them, milliseconds. Default: 5000. */
  readonly connectTimeoutMs?: number;
  /** How long a lost connection is retried before what is pending fails with CONNECTION_LOST. Default: 30000. */
  readonly reconnectTimeoutMs?: number;
}

export type DriverOptions = EmbeddedDriverOptions | FabricDriverOptions;

/** Options of a new topic. */
export interface TopicOptions<T = unknown> extends StageOptions<T> {
  /** 1 to 1024. Default: 1. */
  readonly partitions?: number;
  /** When an event is acknowledged. Default: 'sync'; 'memory' where events are kept in memory. */
  readonly durability?: Durability;
  /** Default: 'log'; 'memory' for an embedded driver without a directory. */
  readonly manager?: PartitionManager;
  /** Of the metadata of batches. Default: 'none'. Rejects with COMPRESSION_MISSING where zstd is not installed. */
  readonly compression?: Compression;
  /** How much of each partition is kept. Default: everything. */
  readonly retention?: Retention;
}

/** Options of openTopic. */
export interface OpenTopicOptions<T = unknown> extends StageOptions<T> {
  /** A further validator for what is pushed through this handle: a Standard Schema or a JSON Schema. */
  readonly schema?: StandardSchemaV1 | JsonSchema;
}

/** What is known about an open driver. */
export interface DriverInfo {
  readonly driver: 'embedded' | 'fabric';
  /** Version of the native core. */
  readonly version: string;
  readonly servers: readonly ServerStatus[];
}

type State = 'open' | 'closing' | 'closed' | 'destroyed';

const commonNames = ['driver', 'zeroCopyThreshold', 'pendingBytesMax', 'modules'] as const;
const embeddedNames = [
  ...commonNames,
  'data',
  'memoryBytes',
] as const satisfies readonly (keyof EmbeddedDriverOptions)[];
const fabricNames = [
  ...commonNames,
  'groupFile',
  'servers',
  'minServers',
  'provider',
  'domain',
  'onLog',
  'connectTimeoutMs',
  'reconnectTimeoutMs',
] as const satisfies readonly (keyof FabricDriverOptions)[];
const topicNames = [
  'partitions',
  'durability',
  'manager',
  'compression',
  'retention',
  'validator',
  'partitionSelector',
  'serializer',
] as const;
const openNames = ['schema', 'validator', 'partitionSelector', 'serializer'] as const;

const partitionsMax = 1024;
/** Less than the wire's bound on the frame that carries it (docs/formats/wire.md). */
const configBytesMax = 2 ** 20 - 65_536;
const timerMax = 2 ** 31 - 1;
/** As native/base/retention.h has it. */
const retentionAgeMsMax = 2 ** 43 - 1;

/**
 * Stages that are functions, by topic uuid: a topic created with them can be opened in this process without giving them
 * again.
 */
const stagesOfProcess = new Map<string, StageOptions<never>>();

function moduleDirectories({ modules }: CommonDriverOptions): readonly string[] {
  if (modules === undefined) return [];
  const directories: unknown[] = Array.isArray(modules) ? modules : [modules];
  const isName = (directory: unknown): directory is string => typeof directory === 'string' && directory !== '';
  // Made absolute now: what is allowed does not change with the working directory.
  if (directories.every(isName)) return directories.map((directory) => resolve(directory));
  throw invalidOption('modules', 'a directory or a list of directories', modules);
}

function connectionSettings(options: Partial<FabricDriverOptions> | EmbeddedDriverOptions): ConnectionSettings {
  const fabric = options as Partial<FabricDriverOptions>;
  const timer = { min: 1, max: timerMax };
  return {
    connectTimeoutMs: integerOption('connectTimeoutMs', fabric.connectTimeoutMs, { ...timer, fallback: 5000 }),
    reconnectTimeoutMs: integerOption('reconnectTimeoutMs', fabric.reconnectTimeoutMs, {
      ...timer,
      min: 0,
      fallback: 30_000,
    }),
    zeroCopyThreshold: integerOption('zeroCopyThreshold', options.zeroCopyThreshold, {
      min: 1,
      max: 2 ** 31 - 1,
      fallback: 65_536,
    }),
    pendingBytesMax: integerOption('pendingBytesMax', options.pendingBytesMax, { min: 1, fallback: 256 * 2 ** 20 }),
  };
}

/** As the servers have it: 0 for no bound. */
function readRetention(given: Retention | undefined): { retentionAgeMs: number; retentionBytes: number } {
  const { ageMs, bytes } = checkKeys('retention', given, ['ageMs', 'bytes']);
  const bound = (name: string, value: number | undefined, max: number): number =>
    value === undefined ? 0 : integerOption(name, value, { min: 1, max, fallback: 0 });
  return {
    retentionAgeMs: bound('retention.ageMs', ageMs, retentionAgeMsMax),
    retentionBytes: bound('retention.bytes', bytes, Number.MAX_SAFE_INTEGER),
  };
}

/** What a topic's `config` holds. */
interface StoredConfig extends StoredStages {
  readonly compression: StoredCompression | undefined;
}

function readStored(entry: NativeTopicEntry): StoredConfig {
  try {
    const { validator, partitionSelector, serializer, compression } = JSON.parse(entry.config) as StoredConfig;
    if ([validator, partitionSelector, serializer].every((stage) => typeof stage?.type === 'string')) {
      return { validator, partitionSelector, serializer, compression };
    }
  } catch (error) {
    throw wrapError('PROTOCOL', `the configuration of topic '${entry.name}' is not JSON`, error, { topic: entry.name });
  }
  throw new DiasporaError('PROTOCOL', `the configuration of topic '${entry.name}' lacks a stage`, {
    topic: entry.name,
  });
}

/** The way to topics. Made by {@link Driver.open}. */
export class Driver {
  /** Without threads: stages run on the caller's thread. What producers have that are not given a pool. */
  readonly defaultThreadPool: ThreadPool = new ThreadPool(0);
  readonly #connection: Connection;
  readonly #catalogue: Catalogue;
  readonly #defaultManager: PartitionManager;
  readonly #modules: readonly string[];
  /** Those with threads that are not closed yet; closed with the driver. */
  readonly #pools = new Set<ThreadPool>();
  readonly #children = new Set<WeakRef<Child>>();
  /** Takes out the children that were collected. Holds no closure, which would hold the child. */
  readonly #collected = new FinalizationRegistry<WeakRef<Child>>((child) => this.#children.delete(child));
  #state: State = 'open';
  #closing: Promise<void> | undefined;

  private constructor(connection: Connection, defaultManager: PartitionManager, modules: readonly string[]) {
    this.#connection = connection;
    this.#modules = modules;
    this.#catalogue = new Catalogue(connection);
    this.#defaultManager = defaultManager;
  }

  /**
   * Opens a driver: embedded in './diaspora-data' by default. Resolves when every server is connected. Rejects with
   * INVALID_ARGUMENT, NATIVE_MISSING; embedded: NOT_WRITABLE, DIRECTORY_LOCKED, CORRUPT_LOG; fabric: GROUP_FILE,
   * CONNECT_TIMEOUT (which names the address), PROVIDER_UNAVAILABLE, LIBFABRIC_MISSING, VERSION_MISMATCH.
   */
  static async open(options: DriverOptions = {}): Promise<Driver> {
    const kind = choiceOption('driver', options?.driver, ['embedded', 'fabric'], 'embedded');
    if (kind === 'embedded') {
      const given = checkKeys("driver 'embedded'", options as EmbeddedDriverOptions, embeddedNames);
      const data = given.data === false ? false : stringOption('data', given.data, defaultDataDirectory);
      const memoryBytes = integerOption('memoryBytes', given.memoryBytes, { min: 2 ** 20, fallback: 2 ** 30 });
      const modules = moduleDirectories(given);
      const connection = await openEmbedded(runtime(), data, memoryBytes, connectionSettings(given));
      return new Driver(connection, data === false ? 'memory' : 'log', modules);
    }
    const given = checkKeys("driver 'fabric'", options as FabricDriverOptions, fabricNames);
    const minServers =
      given.minServers === undefined
        ? undefined
        : integerOption('minServers', given.minServers, { min: 1, fallback: 1 });
    const where = { groupFile: given.groupFile, servers: given.servers, minServers };
    const rails = railsOption(given.provider, given.domain);
    const onLog = functionOption('onLog', given.onLog);
    const modules = moduleDirectories(given);
    return new Driver(await openFabric(runtime(), where, rails, onLog, connectionSettings(given)), 'log', modules);
  }

  /** `open`, `closing`, `closed` or `destroyed`. */
  get state(): State {
    return this.#state;
  }

  /** Servers, their addresses and providers, as they are now. */
  get info(): DriverInfo {
    const { kind, runtime: here } = this.#connection;
    return { driver: kind.driver, version: here.binding.version, servers: this.#connection.serverStatus() };
  }

  /** Counters of the native core for this driver, monotonic: events, bytes, bytes by RMA, bytes copied by our code. */
  counters(): DriverCounters {
    return this.#connection.counters();
  }

  /**
   * Creates a topic. Rejects with TOPIC_EXISTS, INVALID_NAME, INVALID_ARGUMENT, and what the servers answer (NO_SPACE,
   * STORAGE_FAILED, CONNECTION_LOST, ...); then there is no topic.
   */
  async createTopic<T = unknown>(name: string, options?: TopicOptions<T>): Promise<void> {
    this.#requireOpen();
    checkName('topic', name);
    const given = checkKeys('createTopic', options, topicNames);
    const manager = choiceOption('manager', given.manager, ['log', 'memory'], this.#defaultManager);
    const durabilities = ['memory', 'os', 'sync'] as const;
    const durability = choiceOption(
      'durability',
      given.durability,
      durabilities,
      manager === 'log' ? 'sync' : 'memory',
    );
    if (manager === 'memory' && durability !== 'memory') {
      throw invalidOption('durability', "'memory' when manager is 'memory'", durability);
    }
    const retention = readRetention(given.retention);
    const stages = given as StageOptions<never>;
    const stored = storedStages(stages);
    const compression = readCompression(given.compression);
    if (compression !== undefined) this.#connection.runtime.binding.checkCompression();
    const config = JSON.stringify({ ...stored, compression });
    if (Buffer.byteLength(config) > configBytesMax) {
      throw new DiasporaError('INVALID_ARGUMENT', `the stages of a topic are at most ${configBytesMax} bytes of JSON`);
    }
    const local = localStages(stored, stages);
    const partitions = integerOption('partitions', given.partitions, { min: 1, max: partitionsMax, fallback: 1 });
    // Made once for the errors: nobody could use a topic whose stages are wrong.
    const made = new Stages(await resolveStages(stored, local, this.#modules), undefined);
    made.require(name, ['validator', 'partitionSelector', 'serializer']);
    made.makeSelector(partitions);
    const entry = await this.#catalogue.create({
      name,
      partitions,
      durability,
      manager,
      config,
      ...retention,
    });
    if (Object.keys(local).length > 0) stagesOfProcess.set(entry.uuid, local);
  }

  /**
   * Opens a topic. With a Standard Schema or a JSON Schema as `schema` its types are those of the metadata, and what is
   * pushed is validated by it. Stages that are functions of the process that created the topic must be given here in another one.
   * Stages that are modules are loaded from the driver's `modules`; `producer()` and `consumer()` say when one that they
   * need is not there. Rejects with TOPIC_NOT_FOUND, INVALID_NAME,
   * INVALID_ARGUMENT.
   */
  openTopic<S extends StandardSchemaV1>(
    name: string,
    options: OpenTopicOptions<StandardSchemaV1.InferOutput<S>> & { readonly schema: S },
  ): Promise<TopicHandle<StandardSchemaV1.InferOutput<S>, StandardSchemaV1.InferInput<S>>>;
  openTopic<const S extends TypedJsonSchema>(
    name: string,
    options: OpenTopicOptions<JsonSchemaType<S>> & { readonly schema: S },
  ): Promise<TopicHandle<JsonSchemaType<S>>>;
  openTopic<T = unknown>(name: string, options?: OpenTopicOptions<T>): Promise<TopicHandle<T>>;
  async openTopic(name: string, options?: object): Promise<TopicHandle<unknown, never>> {
    this.#requireOpen();
    checkName('topic', name);
    const { schema, ...given } = checkKeys('openTopic', options as OpenTopicOptions<never> | undefined, openNames);
    const entry = await this.#catalogue.find(name);
    const local = { ...stagesOfProcess.get(entry.uuid), ...given };
    const stored = readStored(entry);
    const resolved = await resolveStages(stored, local, this.#modules);
    const stages = new Stages(resolved, schema);
    const { partitions } = entry;
    return new TopicHandle<unknown, never>({
      driver: this,
      connection: this.#connection,
      entry,
      stages,
      compression: stored.compression,
      setup: stageSetup({ resolved, schema, directories: this.#modules, topic: name, partitions }),
      requireOpen: () => this.#requireOpen(),
      refresh: () => this.#catalogue.find(name),
      adopt: (child) => this.#adopt(child),
    });
  }

  /** Whether there is a topic of that name. */
  async topicExists(name: string): Promise<boolean> {
    this.#requireOpen();
    checkName('topic', name);
    return this.#catalogue.exists(name);
  }

  /** Names of the topics, sorted. */
  async listTopics(): Promise<string[]> {
    this.#requireOpen();
    return (await this.#catalogue.list()).map(({ name }) => name);
  }

  /**
   * Completes a topic: it takes no more events, for good. What is pushed from now on rejects with TOPIC_COMPLETE; what the
   * servers are storing already is stored. Consumers end behind the last event of all their partitions (see
   * `consumer.completed`), also those that wait. The topic stays, and can be read and deleted. Idempotent; where a server
   * could not be reached, call it again. Rejects with TOPIC_NOT_FOUND.
   */
  async completeTopic(name: string): Promise<void> {
    this.#requireOpen();
    checkName('topic', name);
    await this.#catalogue.complete(name);
  }

  /**
   * Adds partitions to a topic, spread over the servers as the first ones: `partitions` is how many it has then, more than
   * now, up to 1024. Handles that are open keep the number they were opened with; open the topic again to produce to the new
   * partitions and read them. From then on `hash` selectors give many values another partition; what is stored stays where
   * it is. All or nothing: when it rejects (TOPIC_NOT_FOUND, TOPIC_COMPLETE, INVALID_ARGUMENT, and what the servers
   * answer) the topic is as it was.
   */
  async addPartitions(name: string, partitions: number): Promise<void> {
    this.#requireOpen();
    checkName('topic', name);
    if (partitions === undefined) throw invalidOption('partitions', 'given', partitions);
    const count = integerOption('partitions', partitions, { min: 2, max: partitionsMax, fallback: 0 });
    const { partitionSelector } = readStored(await this.#catalogue.find(name));
    // Bounds need a certain number of partitions: nobody could produce to the topic any more.
    if (partitionSelector.type === 'range') builtInSelector({ ...partitionSelector })(count);
    await this.#catalogue.extend(name, count);
  }

  /** Deletes a topic and its events for good. Rejects with TOPIC_NOT_FOUND. */
  async deleteTopic(name: string): Promise<void> {
    this.#requireOpen();
    checkName('topic', name);
    const { uuid } = await this.#catalogue.delete(name);
    stagesOfProcess.delete(uuid);
  }

  /**
   * A thread pool of at most `threads` workers (0 to 1024; 0: the caller's thread), which start when a producer that was
   * given the pool has work for them. It is closed with the driver. Throws INVALID_ARGUMENT, INVALID_STATE.
   */
  makeThreadPool(threads: number, options?: ThreadPoolOptions): ThreadPool {
    this.#requireOpen();
    const pools = this.#pools;
    const pool: ThreadPool = new ThreadPool(threads, options, () => pools.delete(pool));
    if (threads > 0) pools.add(pool);
    return pool;
  }

  /**
   * Memory for data that is pushed without a copy, `bytes` long: huge-page-backed and registered once. Other memory
   * works as well; this is the fastest. Freed when collected.
   */
  allocate(bytes: number): ArrayBuffer {
    this.#requireOpen();
    return this.#connection.runtime.binding.allocate(integerOption('bytes', bytes, { min: 1, fallback: 0 }));
  }

  /**
   * Closes producers (which flush) and consumers, then the connections. Idempotent. Rejects with the first error of a
   * flush or acknowledgement; the driver is closed all the same.
   */
  close(): Promise<void> {
    this.#closing ??= this.#close();
    return this.#closing;
  }

  /** Closes at once: what is pending fails with ABORTED. Resolves when memory is no longer in use. Idempotent. */
  destroy(): Promise<void> {
    if (this.#state === 'open' || this.#state === 'closing') {
      this.#state = 'destroyed';
      for (const child of this.#livingChildren()) child.destroy();
    }
    return this.#endAll();
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.close();
  }

  async #close(): Promise<void> {
    if (this.#state === 'destroyed') return this.#endAll();
    this.#state = 'closing';
    const results = await Promise.allSettled(this.#livingChildren().map((child) => child.close()));
    await this.#endAll();
    if (this.#state === 'closing') this.#state = 'closed';
    for (const result of results) if (result.status === 'rejected') throw result.reason;
  }

  /** Its producers have ended, so that what its pools still do is for those of other drivers, or for nobody. */
  async #endAll(): Promise<void> {
    await Promise.all([...this.#pools].map((pool) => (this.#state === 'destroyed' ? pool.destroy() : pool.close())));
    await this.#connection.close();
  }

  #livingChildren(): Child[] {
    return [...this.#children].map((child) => child.deref()).filter((child) => child !== undefined);
  }

  #adopt(child: WeakRef<Child>): () => void {
    this.#children.add(child);
    const target = child.deref();
    if (target !== undefined) this.#collected.register(target, child, child);
    return () => {
      this.#collected.unregister(child);
      this.#children.delete(child);
    };
  }

  #requireOpen(): void {
    if (this.#state !== 'open') throw new DiasporaError('INVALID_STATE', `the driver is ${this.#state}`);
  }
}
