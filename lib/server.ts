/**
 * Server: a partition server inside this process; `diaspora serve` is one.
 *
 * It listens on one address, keeps the partitions it owns in a directory (or in memory), and enters itself into a group
 * file from which clients learn where it is. It keeps the process alive until close().
 */
import { isIPv6 } from 'node:net';
import type { ServerCounters } from './counters.js';
import { DiasporaError } from './errors.js';
import { joinGroup, leaveGroup } from './group-file.js';
import { parseListen } from './listen-host.js';
import type { NativeProviderInfo, NativeServer, NativeServerStarted } from './native.js';
import {
  booleanOption,
  checkKeys,
  type Endpoint,
  formatEndpoint,
  functionOption,
  integerOption,
  invalidOption,
  parseEndpoint,
  railsOption,
  stringOption,
} from './options.js';
import { type LogLine, type Runtime, runtime } from './runtime.js';

export type { LogLine } from './runtime.js';

/** Options of {@link Server.start}. */
export interface ServerOptions {
  /** Directory for topics and events; made when it is not there. Default: none, everything is in memory. */
  readonly data?: string;
  /**
   * `tcp://host:port` or `host:port`; port 0 takes a free one. The host may be an address, a name, a network interface
   * (`tcp://ib0:0`) or a subnet in which this host has an address (`tcp://10.1.0.0/16:0`). Default: `tcp://127.0.0.1:0`.
   */
  readonly listen?: string;
  /** Host that is written to the group file. Default: the one listened on (for 0.0.0.0 and ::, this must be given). */
  readonly advertise?: string;
  /** Group file to join; made when it is not there. Default: none. */
  readonly groupFile?: string;
  /** Provider name, or several with commas. Default: 'auto', everything usable. */
  readonly provider?: string;
  /**
   * libfabric domain: the adapter ('mlx5_0') or interface ('ib0') to move data through; several with commas for clients
   * with several (see FabricDriverOptions.domain). Default: that of `listen`.
   */
  readonly domain?: string;
  /** Bound on the memory for events, bytes. Default: 1 GiB. */
  readonly memoryBytes?: number;
  /** Listen beyond this host although there is no authentication yet. Default: false. */
  readonly insecure?: boolean;
  /** Lines for the operator, such as what recovery found; those of all servers and drivers of this thread. */
  readonly onLog?: (line: LogLine) => void;
}

const optionNames = [
  'data',
  'listen',
  'advertise',
  'groupFile',
  'provider',
  'domain',
  'memoryBytes',
  'insecure',
  'onLog',
] as const satisfies readonly (keyof ServerOptions)[];

function isLoopback(host: string): boolean {
  return host.startsWith('127.') || host === '::1';
}

function isReadable(host: string): boolean {
  // What has colons is put into brackets: '10.0.0.5:7000' would pass for an IPv6 address.
  if (host.includes(':') && !isIPv6(host)) return false;
  try {
    return parseEndpoint('advertise', formatEndpoint({ host, port: 1 })).host === host;
  } catch {
    return false;
  }
}

/** A host that clients can read out of `host:port`: whoever finds another in the group file can use no server of it. */
function checkAdvertised(advertise: string): string {
  const host = stringOption('advertise', advertise, '');
  if (isReadable(host)) return host;
  throw invalidOption('advertise', 'a host name or address, without a port', advertise);
}

function advertisedHost(advertise: string | undefined, host: string): string {
  if (advertise !== undefined) return checkAdvertised(advertise);
  if (host !== '0.0.0.0' && host !== '::') return host;
  throw new DiasporaError(
    'INVALID_ARGUMENT',
    `listen is ${host}: say with advertise which host clients shall connect to`,
  );
}

async function readListen(options: ServerOptions): Promise<Endpoint> {
  const text = options.listen ?? 'tcp://127.0.0.1:0';
  const { host, port } = await parseListen(text);
  if (!isLoopback(host) && !booleanOption('insecure', options.insecure, false)) {
    const advice = 'there is no authentication yet: set insecure if everybody who can reach it may use it';
    throw new DiasporaError('INVALID_ARGUMENT', `${text} is reachable from other hosts; ${advice}`, { address: text });
  }
  return { host, port };
}

interface ServerParts {
  readonly runtime: Runtime;
  readonly native: NativeServer;
  readonly started: NativeServerStarted;
  readonly address: string;
  readonly index: number | undefined;
  /** The group file, when a later start cannot take the entry over: the server's identity dies with it. */
  readonly leaveOnClose: string | undefined;
  readonly onLog: ((line: LogLine) => void) | undefined;
}

/** A partition server of this process. */
export class Server {
  readonly #parts: ServerParts;
  #closing: Promise<void> | undefined;

  private constructor(parts: ServerParts) {
    this.#parts = parts;
    parts.runtime.hold();
  }

  /**
   * Starts a server; resolves when clients may connect and the group file is written. Rejects with NOT_WRITABLE,
   * DIRECTORY_LOCKED, ADDRESS_IN_USE, PROVIDER_UNAVAILABLE, LIBFABRIC_MISSING, CORRUPT_LOG, GROUP_FILE, INVALID_ARGUMENT.
   */
  static async start(given?: ServerOptions): Promise<Server> {
    const options = checkKeys('a server', given, optionNames);
    const listen = await readListen(options);
    const advertise = advertisedHost(options.advertise, listen.host);
    const onLog = functionOption('onLog', options.onLog);
    const memoryBytes = integerOption('memoryBytes', options.memoryBytes, { min: 2 ** 20, fallback: 2 ** 30 });
    const here = runtime();
    here.addLogListener(onLog);
    let native: NativeServer | undefined;
    try {
      const started = await here.call<NativeServerStarted>(
        (id) => {
          native = here.binding.serverStart(id, {
            dataDirectory: options.data === undefined ? '' : stringOption('data', options.data, ''),
            listenHost: listen.host,
            listenPort: listen.port,
            provider: railsOption(options.provider, options.domain).join(','),
            memoryBytes,
          });
        },
        { path: options.data, address: formatEndpoint(listen), provider: options.provider },
      );
      const address = formatEndpoint({ host: advertise, port: started.port });
      const index = await Server.#join(options.groupFile, address, started);
      const leaveOnClose = options.data === undefined ? options.groupFile : undefined;
      const parts = {
        runtime: here,
        native: native as unknown as NativeServer,
        started,
        address,
        index,
        leaveOnClose,
        onLog,
      };
      return new Server(parts);
    } catch (error) {
      here.removeLogListener(onLog);
      // It may have started and failed to join. What start failed with is what counts, not what stop does.
      const started = native;
      if (started !== undefined) await here.call((id) => here.binding.serverStop(id, started)).catch(() => undefined);
      throw error;
    }
  }

  static async #join(
    path: string | undefined,
    address: string,
    started: NativeServerStarted,
  ): Promise<number | undefined> {
    if (path === undefined) return undefined;
    const providers = [...new Set(started.providers.map(({ name }) => name))];
    return (await joinGroup(stringOption('groupFile', path, ''), { uuid: started.uuid, address, providers })).index;
  }

  /** 32 hexadecimal digits; of the data directory, or of this run when everything is in memory. */
  get uuid(): string {
    return this.#parts.started.uuid;
  }

  /** Where clients connect: `host:port`. */
  get address(): string {
    return this.#parts.address;
  }

  get port(): number {
    return this.#parts.started.port;
  }

  /** Position in the group; undefined without a group file. */
  get index(): number | undefined {
    return this.#parts.index;
  }

  /** What it offers to clients, best first. */
  get providers(): readonly NativeProviderInfo[] {
    return this.#parts.started.providers;
  }

  counters(): ServerCounters {
    return this.#parts.runtime.binding.serverCounters(this.#parts.native);
  }

  /**
   * Writes and syncs everything accepted, says good-bye to clients, and frees the directory. Idempotent. The entry in the
   * group file stays, for the next start on the directory; that of a server in memory goes.
   */
  close(): Promise<void> {
    this.#closing ??= this.#close();
    return this.#closing;
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.close();
  }

  async #close(): Promise<void> {
    const { runtime: here, native, leaveOnClose, onLog } = this.#parts;
    try {
      if (leaveOnClose !== undefined) await leaveGroup(leaveOnClose, this.uuid);
    } finally {
      await here
        .call((id) => here.binding.serverStop(id, native))
        .finally(() => {
          here.release();
          here.removeLogListener(onLog);
        });
    }
  }
}
