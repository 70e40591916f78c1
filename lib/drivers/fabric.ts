/**
 * The fabric driver: servers in other processes, reached through libfabric; found by a group file or by address.
 */
import { resolve } from 'node:path';
import { DiasporaError } from '../errors.js';
import { readGroup, readGroupSync } from '../group-file.js';
import { type Endpoint, parseEndpoint } from '../options.js';
import type { Runtime } from '../runtime.js';
import { Connection, type ConnectionKind, type ConnectionSettings } from './connection.js';

/** Where the servers are: exactly one of the two. */
export interface ServersOption {
  readonly groupFile: string | undefined;
  readonly servers: readonly string[] | undefined;
}

/** The address that the group file has now; undefined when it cannot be read or does not name the server. */
function locateIn(path: string, uuid: string): Endpoint | undefined {
  try {
    const entry = readGroupSync(path).find((server) => server.uuid === uuid);
    return entry === undefined ? undefined : parseEndpoint('address', entry.address);
  } catch {
    // The last known address stays in use; the core reports the server as lost in any case.
    return undefined;
  }
}

async function findServers({ groupFile, servers }: ServersOption): Promise<Pick<ConnectionKind, 'servers' | 'locate'>> {
  if ((groupFile === undefined) === (servers === undefined)) {
    throw new DiasporaError('INVALID_ARGUMENT', "driver 'fabric' needs either groupFile or servers");
  }
  if (groupFile !== undefined) {
    const path = resolve(groupFile);
    const group = await readGroup(path);
    return {
      servers: group.map(({ uuid, address }) => ({ uuid, endpoint: parseEndpoint('address', address) })),
      locate: (uuid) => locateIn(path, uuid),
    };
  }
  if (!Array.isArray(servers) || servers.length === 0) {
    throw new DiasporaError('INVALID_ARGUMENT', 'servers must be a list of host:port with at least one entry');
  }
  const endpoints = servers.map((address: string) => ({
    uuid: '',
    endpoint: parseEndpoint('each of servers', address),
  }));
  return { servers: endpoints, locate: () => undefined };
}

export async function openFabric(
  runtime: Runtime,
  where: ServersOption,
  provider: string,
  settings: ConnectionSettings,
): Promise<Connection> {
  const found = await findServers(where);
  const release = (): Promise<void> => Promise.resolve();
  const kind: ConnectionKind = { driver: 'fabric', embedded: undefined, provider, release, ...found };
  return Connection.open(runtime, kind, settings);
}
