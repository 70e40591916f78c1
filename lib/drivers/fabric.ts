/**
 * The fabric driver: servers in other processes, reached through libfabric; found by a group file or by address.
 */
import { resolve } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { DiasporaError } from '../errors.js';
import { type GroupServer, readGroup, readGroupSync } from '../group-file.js';
import { type Endpoint, parseEndpoint } from '../options.js';
import type { LogLine, Runtime } from '../runtime.js';
import { Connection, type ConnectionKind, type ConnectionSettings } from './connection.js';

/** Where the servers are: exactly one of the two. */
export interface ServersOption {
  readonly groupFile: string | undefined;
  readonly servers: readonly string[] | undefined;
  /** So many must be in the group file; undefined: any number, and the file must be there. */
  readonly minServers: number | undefined;
}

/** How often the group file is looked at while servers are missing, milliseconds: it may lie on a shared file system. */
const pollMs = 100;

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

/** The group once it has `count` servers. CONNECT_TIMEOUT when it has not after `timeoutMs`; VERSION_MISMATCH at once. */
export async function awaitGroup(path: string, count: number, timeoutMs: number): Promise<GroupServer[]> {
  const deadline = performance.now() + timeoutMs;
  for (;;) {
    let found = 'it cannot be read yet';
    let cause: unknown;
    try {
      const group = await readGroup(path);
      if (group.length >= count) return group;
      found = `it names ${group.length}`;
    } catch (error) {
      // A file that is missing, or empty for a moment, may still come; what will not get better is told at once.
      if ((error as DiasporaError).code === 'VERSION_MISMATCH') throw error;
      cause = error;
    }
    if (performance.now() >= deadline) {
      const waited = `waited ${timeoutMs} ms for ${count} server${count === 1 ? '' : 's'} in group file ${path}: ${found}`;
      throw new DiasporaError('CONNECT_TIMEOUT', waited, { path, cause });
    }
    await sleep(pollMs);
  }
}

async function findServers(
  { groupFile, servers, minServers }: ServersOption,
  timeoutMs: number,
): Promise<Pick<ConnectionKind, 'servers' | 'locate'>> {
  if ((groupFile === undefined) === (servers === undefined)) {
    throw new DiasporaError('INVALID_ARGUMENT', "driver 'fabric' needs either groupFile or servers");
  }
  if (groupFile !== undefined) {
    const path = resolve(groupFile);
    const group = minServers === undefined ? await readGroup(path) : await awaitGroup(path, minServers, timeoutMs);
    return {
      servers: group.map(({ uuid, address }) => ({ uuid, endpoint: parseEndpoint('address', address) })),
      locate: (uuid) => locateIn(path, uuid),
    };
  }
  if (minServers !== undefined) throw new DiasporaError('INVALID_ARGUMENT', 'minServers needs a groupFile');
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
  rails: readonly string[],
  onLog: ((line: LogLine) => void) | undefined,
  settings: ConnectionSettings,
): Promise<Connection> {
  const found = await findServers(where, settings.connectTimeoutMs);
  runtime.addLogListener(onLog);
  const release = (): Promise<void> => {
    runtime.removeLogListener(onLog);
    return Promise.resolve();
  };
  const kind: ConnectionKind = { driver: 'fabric', embedded: undefined, rails, release, ...found };
  return Connection.open(runtime, kind, settings);
}
