/** The places that the conformance suite runs on: driver kinds, providers and partition managers. */
import type { TestContext } from 'node:test';
import {
  type CommonDriverOptions,
  Driver,
  type DriverCounters,
  fabricInfo,
  type PartitionManager,
} from '../../lib/index.js';
import { type ServerProcess, startServer } from './server-process.js';
import { temporaryDirectory } from './temporary.js';

/** What every server of a test can tell. */
export type AnyServer = Pick<ServerProcess, 'counters'>;

export interface Place<S extends AnyServer = ServerProcess> {
  /** Opens one more driver on the place. */
  open(options?: CommonDriverOptions): Promise<Driver>;
  /** Undefined when the server is in this process. */
  readonly server: S | undefined;
  readonly manager: PartitionManager;
  /** Drivers opened on it see each other's topics. */
  readonly shared: boolean;
}

export interface Backend<S extends AnyServer = ServerProcess> {
  readonly name: string;
  start(context: Pick<TestContext, 'after'>): Promise<Place<S>>;
}

export type Kind = 'tcp' | 'shm' | 'verbs';

/** Where the server listens: verbs is tested between the two addresses of DIASPORA_TEST_VERBS (`npm run test:rdma`). */
export function serverPlace(kind: Kind): { listen?: string; insecure?: boolean } {
  if (kind !== 'verbs') return {};
  const host = process.env['DIASPORA_TEST_VERBS']?.split(',')[1];
  if (host === undefined) throw new Error('DIASPORA_TEST_VERBS names no two addresses: use npm run test:rdma');
  return { listen: `${host}:0`, insecure: true };
}

/** The exact name of the provider of a family here: native tcp is 'net' in libfabric 1.17 and 'tcp' from 1.18. */
export async function providerName(kind: Kind): Promise<string> {
  const { library, providers } = await fabricInfo(kind);
  const family = kind === 'tcp' ? 'xnet' : kind;
  const found = providers.find((provider) => provider.family.startsWith(family));
  if (found === undefined) throw new Error(`no ${kind} provider here: ${JSON.stringify({ library, providers })}`);
  return found.name;
}

function embedded(manager: PartitionManager): Backend {
  return {
    name: `embedded, ${manager}`,
    start: async (context) => {
      const data = manager === 'log' ? await temporaryDirectory(context) : false;
      return {
        server: undefined,
        manager,
        shared: data !== false,
        open: (options) => Driver.open({ data, ...options }),
      };
    },
  };
}

function remote(kind: Kind, manager: PartitionManager): Backend {
  return {
    name: `server, ${kind}, ${manager}`,
    start: async (context) => {
      const provider = await providerName(kind);
      const data = manager === 'log' ? { data: await temporaryDirectory(context) } : {};
      const server = await startServer(context, { provider, ...serverPlace(kind), ...data });
      const servers = [server.address];
      return {
        server,
        manager,
        shared: true,
        open: (options) => Driver.open({ driver: 'fabric', servers, provider, ...options }),
      };
    },
  };
}

export const backends = {
  embeddedLog: embedded('log'),
  embeddedMemory: embedded('memory'),
  tcpLog: remote('tcp', 'log'),
  tcpMemory: remote('tcp', 'memory'),
  shmLog: remote('shm', 'log'),
  verbsLog: remote('verbs', 'log'),
} as const satisfies Record<string, Backend>;

export function movedByRma(
  after: DriverCounters,
  before: DriverCounters,
): { rma: number; copied: number; total: number } {
  return {
    rma: after.dataBytesByRma - before.dataBytesByRma,
    copied: after.dataBytesCopied - before.dataBytesCopied,
    total: after.dataBytes - before.dataBytes,
  };
}
