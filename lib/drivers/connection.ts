/**
 * A connection: the native driver with the servers behind it, as both kinds of driver have it. Internal.
 *
 * It turns requests to the core into promises, knows which server has which index and uuid, and answers a lost server
 * with the address that its group file has now.
 */
import { DiasporaError, type ErrorOperands } from '../errors.js';
import type {
  NativeCounters,
  NativeCursor,
  NativeCursorPosition,
  NativeDriver,
  NativeDriverOpened,
  NativeDriverOptions,
  NativeError,
  NativePartitionStatus,
  NativeServer,
  NativeTopicEntry,
} from '../native.js';
import { type Endpoint, formatEndpoint } from '../options.js';
import { Room } from '../room.js';
import { type ConnectionSink, type Runtime, registerWeakly, unregister } from '../runtime.js';

/** Options that both kinds of driver have, read and checked. */
export interface ConnectionSettings {
  readonly connectTimeoutMs: number;
  readonly reconnectTimeoutMs: number;
  readonly zeroCopyThreshold: number;
  readonly pendingBytesMax: number;
}

/** One server as the driver sees it. */
export interface ServerStatus {
  /** Position in the group, 0 for embedded. */
  readonly index: number;
  readonly uuid: string;
  /** '' for embedded. */
  readonly address: string;
  readonly connected: boolean;
  /** Provider of the session; '' while not connected. */
  readonly provider: string;
}

interface KnownServer {
  uuid: string;
  endpoint: Endpoint;
  connected: boolean;
}

/** What is special about one kind of driver. */
export interface ConnectionKind {
  readonly driver: 'embedded' | 'fabric';
  readonly servers: readonly { readonly endpoint: Endpoint; readonly uuid: string }[];
  readonly embedded: NativeServer | undefined;
  /** Providers with commas, for each adapter that is used. */
  readonly rails: readonly string[];
  /** Asks for the present address of a server; undefined when unknown. Called when the server is lost. */
  readonly locate: (uuid: string) => Endpoint | undefined;
  /** Frees what was opened for this connection, when it is closed. */
  readonly release: () => Promise<void>;
}

export class Connection implements ConnectionSink {
  readonly runtime: Runtime;
  readonly kind: ConnectionKind;
  readonly settings: ConnectionSettings;
  /** For what its producers have pending. */
  readonly room: Room;
  readonly #native: NativeDriver;
  readonly #id: number;
  readonly #servers: KnownServer[];
  #closing: Promise<void> | undefined;

  private constructor(
    runtime: Runtime,
    kind: ConnectionKind,
    settings: ConnectionSettings,
    native: NativeDriver,
    opened: NativeDriverOpened,
  ) {
    this.runtime = runtime;
    this.kind = kind;
    this.settings = settings;
    this.room = new Room(runtime, settings.pendingBytesMax);
    this.#native = native;
    this.#id = opened.id;
    this.#servers = kind.servers.map(({ endpoint, uuid }, index) => ({
      uuid: opened.uuids[index] ?? uuid,
      endpoint,
      connected: true,
    }));
    registerWeakly<ConnectionSink>(runtime.drivers, opened.id, this);
  }

  /** Resolves when every server is connected. Frees what `kind` holds when it fails. */
  static async open(runtime: Runtime, kind: ConnectionKind, settings: ConnectionSettings): Promise<Connection> {
    const { driver, rails, servers, embedded } = kind;
    const options: NativeDriverOptions = {
      ...settings,
      rails,
      servers: driver === 'embedded' ? [] : servers.map(({ endpoint, uuid }) => ({ ...endpoint, uuid })),
      ...(embedded === undefined ? {} : { embedded }),
    };
    let native: NativeDriver | undefined;
    try {
      const opened = await runtime.call<NativeDriverOpened>(
        (id) => {
          native = runtime.binding.driverOpen(id, options);
        },
        { provider: rails.join(',') },
      );
      return new Connection(runtime, kind, settings, native as unknown as NativeDriver, opened);
    } catch (error) {
      await kind.release();
      throw error;
    }
  }

  get native(): NativeDriver {
    return this.#native;
  }

  get serverCount(): number {
    return this.#servers.length;
  }

  serverUuids(): string[] {
    return this.#servers.map(({ uuid }) => uuid);
  }

  serverStatus(): ServerStatus[] {
    const { providers } = this.counters();
    return this.#servers.map(({ uuid, endpoint, connected }, index) => ({
      index,
      uuid,
      address: this.kind.driver === 'embedded' ? '' : formatEndpoint(endpoint),
      connected,
      provider: providers[index] ?? '',
    }));
  }

  /** Index of the server with `uuid`. PROVIDER-independent: an unknown one means that the group file lacks it. */
  serverIndex(uuid: string, topic: string): number {
    const index = this.#servers.findIndex((server) => server.uuid === uuid);
    if (index >= 0) return index;
    throw new DiasporaError(
      'GROUP_FILE',
      `topic '${topic}' has partitions on server ${uuid}, which is not in the group`,
      {
        topic,
      },
    );
  }

  topicPut(server: number, entry: NativeTopicEntry): Promise<void> {
    return this.#call(server, entry.name, (id) => this.runtime.binding.topicPut(id, this.#native, server, entry));
  }

  topicRemove(server: number, uuid: string, topic: string): Promise<void> {
    return this.#call(server, topic, (id) => this.runtime.binding.topicRemove(id, this.#native, server, uuid));
  }

  /** The entries of every state; '' for all names. */
  topicList(server: number, name: string): Promise<NativeTopicEntry[]> {
    return this.#call(server, name, (id) => this.runtime.binding.topicList(id, this.#native, server, name));
  }

  topicCursors(server: number, uuid: string, topic: string, consumer: string): Promise<NativeCursor[]> {
    const { binding } = this.runtime;
    return this.#call(server, topic, (id) => binding.topicCursors(id, this.#native, server, uuid, consumer));
  }

  cursorSet(server: number, topic: string, cursor: NativeCursorPosition): Promise<void> {
    return this.#call(server, topic, (id) => this.runtime.binding.cursorSet(id, this.#native, server, cursor));
  }

  topicStatus(server: number, uuid: string, topic: string): Promise<NativePartitionStatus[]> {
    return this.#call(server, topic, (id) => this.runtime.binding.topicStatus(id, this.#native, server, uuid));
  }

  counters(): NativeCounters {
    return this.runtime.binding.driverCounters(this.#native);
  }

  /** Closes the connections; what is pending fails with ABORTED. Idempotent. */
  close(): Promise<void> {
    this.#closing ??= this.#close();
    return this.#closing;
  }

  serverLost(server: number, _attempt: number, _error: NativeError): void {
    const known = this.#servers[server];
    if (known === undefined) return;
    known.connected = false;
    const endpoint = this.kind.locate(known.uuid);
    if (endpoint === undefined) return;
    if (endpoint.host === known.endpoint.host && endpoint.port === known.endpoint.port) return;
    known.endpoint = endpoint;
    this.runtime.binding.driverSetAddress(this.#native, server, endpoint.host, endpoint.port);
  }

  serverUp(server: number): void {
    const known = this.#servers[server];
    if (known !== undefined) known.connected = true;
  }

  async #close(): Promise<void> {
    unregister<ConnectionSink>(this.runtime.drivers, this.#id, this);
    try {
      await this.runtime.call((id) => this.runtime.binding.driverClose(id, this.#native));
    } finally {
      await this.kind.release();
    }
  }

  #call<T>(server: number, topic: string, start: (id: number) => void): Promise<T> {
    const known = this.#servers[server];
    const address = known === undefined || this.kind.driver === 'embedded' ? undefined : formatEndpoint(known.endpoint);
    const operands: ErrorOperands = { topic: topic === '' ? undefined : topic, address };
    return this.runtime.call<T>(start, operands);
  }
}
