/**
 * The embedded driver: a server inside this process, without a socket, on a directory or in memory.
 *
 * Drivers of one environment that open the same directory share one server, which stops when the last of them is
 * closed, or is collected with them when they are forgotten. Another environment or process that opens it gets
 * DIRECTORY_LOCKED.
 */
import { realpathSync } from 'node:fs';
import { mkdir } from 'node:fs/promises';
import { resolve } from 'node:path';
import { wrapError } from '../errors.js';
import type { NativeServer, NativeServerStarted } from '../native.js';
import type { Runtime } from '../runtime.js';
import { Connection, type ConnectionSettings } from './connection.js';

/** Where the embedded driver keeps its data by default, relative to the working directory. */
export const defaultDataDirectory = './diaspora-data';

interface EmbeddedServer {
  readonly native: NativeServer;
  readonly uuid: string;
  users: number;
}

/** By directory. Held by the connections; here weakly, so that forgotten drivers let it go. */
const sharedServers = new Map<string, WeakRef<EmbeddedServer>>();
/** Starts and stops of one directory take turns: the last of them. */
const turns = new Map<string, Promise<unknown>>();

/** Runs `work` behind all earlier work on `directory`. */
function takeTurn<T>(directory: string, work: () => Promise<T>): Promise<T> {
  const turn = (turns.get(directory) ?? Promise.resolve()).then(work, work);
  const settled = turn.then(
    () => undefined,
    () => undefined,
  );
  turns.set(directory, settled);
  return turn;
}

async function startServer(runtime: Runtime, directory: string, memoryBytes: number): Promise<EmbeddedServer> {
  let native: NativeServer | undefined;
  const options = { dataDirectory: directory, listenHost: '', listenPort: 0, provider: 'local', memoryBytes };
  const operands = directory === '' ? {} : { path: directory };
  const { uuid } = await runtime.call<NativeServerStarted>((id) => {
    native = runtime.binding.serverStart(id, options);
  }, operands);
  return { native: native as unknown as NativeServer, uuid, users: 0 };
}

async function acquire(runtime: Runtime, directory: string, memoryBytes: number): Promise<EmbeddedServer> {
  const shared = directory === '' ? undefined : sharedServers.get(directory)?.deref();
  const server = shared ?? (await startServer(runtime, directory, memoryBytes));
  if (directory !== '') sharedServers.set(directory, new WeakRef(server));
  server.users += 1;
  return server;
}

async function release(runtime: Runtime, directory: string, server: EmbeddedServer): Promise<void> {
  server.users -= 1;
  if (server.users > 0) return;
  sharedServers.delete(directory);
  await runtime.call((id) => runtime.binding.serverStop(id, server.native));
}

/** The one spelling of a directory's path, after making it. NOT_WRITABLE when that fails. */
async function prepareDirectory(data: string): Promise<string> {
  const path = resolve(data);
  try {
    await mkdir(path, { recursive: true });
    return realpathSync(path);
  } catch (error) {
    throw wrapError('NOT_WRITABLE', `the directory ${path} cannot be made`, error, { path });
  }
}

/** `data`: a directory, or false for memory only. */
export async function openEmbedded(
  runtime: Runtime,
  data: string | false,
  memoryBytes: number,
  settings: ConnectionSettings,
): Promise<Connection> {
  const directory = data === false ? '' : await prepareDirectory(data);
  const server = await takeTurn(directory, () => acquire(runtime, directory, memoryBytes));
  const kind = {
    driver: 'embedded' as const,
    servers: [{ endpoint: { host: '', port: 0 }, uuid: server.uuid }],
    embedded: server.native,
    rails: ['local'],
    locate: () => undefined,
    release: () => takeTurn(directory, () => release(runtime, directory, server)),
  };
  return Connection.open(runtime, kind, settings);
}
