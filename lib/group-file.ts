/**
 * The group file: which servers form a group and where they listen. Servers write it, clients read it.
 *
 *   { "format": "diaspora-group", "version": 1,
 *     "servers": [ { "uuid": "32 hex digits", "index": 0, "address": "host:port", "providers": ["shm", "net"] } ] }
 *
 * A server keeps its index for life: it replaces its own entry, found by uuid, when it comes back on another port. The
 * order of indices is the order of the group: the server with the lowest one decides about topic names.
 * Invariants: a reader sees a whole file, old or new (written aside, synced, renamed); writers take turns (file-lock.ts).
 */
import { readFileSync } from 'node:fs';
import { open, readFile, rename, rm } from 'node:fs/promises';
import { DiasporaError } from './errors.js';
import { withFileLock } from './file-lock.js';
import { parseEndpoint } from './options.js';

/** One server of a group. */
export interface GroupServer {
  /** 32 hexadecimal digits; kept in the server's data directory. */
  readonly uuid: string;
  /** Position in the group; unique, kept for life. */
  readonly index: number;
  /** Where clients connect: `host:port`. */
  readonly address: string;
  /** Names of the providers it offers, best first. */
  readonly providers: readonly string[];
}

export const groupFormat = 'diaspora-group';
export const groupVersion = 1;
/** How long a server waits for its turn to write the file, milliseconds. */
const lockTimeoutMs = 10_000;

function malformed(path: string, what: string, cause?: unknown): DiasporaError {
  return new DiasporaError('GROUP_FILE', `group file ${path}: ${what}`, { path, cause });
}

function isObject(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}

function parseServer(path: string, value: unknown, position: number): GroupServer {
  const where = `servers[${position}]`;
  if (!isObject(value)) throw malformed(path, `${where} is not an object`);
  const { uuid, index, address, providers } = value;
  if (typeof uuid !== 'string' || !/^[0-9a-f]{32}$/.test(uuid)) {
    throw malformed(path, `${where}.uuid is not 32 hexadecimal digits`);
  }
  if (!Number.isSafeInteger(index) || (index as number) < 0)
    throw malformed(path, `${where}.index is not an integer >= 0`);
  if (typeof address !== 'string') throw malformed(path, `${where}.address is not a string`);
  try {
    parseEndpoint('address', address);
  } catch (cause) {
    throw malformed(path, `${where}.address is not host:port`, cause);
  }
  if (!Array.isArray(providers) || !providers.every((name) => typeof name === 'string')) {
    throw malformed(path, `${where}.providers is not a list of names`);
  }
  return { uuid, index: index as number, address, providers: [...providers] };
}

function requireUnique(path: string, servers: readonly GroupServer[], field: 'uuid' | 'index'): void {
  const seen = new Set<unknown>();
  for (const server of servers) {
    if (seen.has(server[field])) throw malformed(path, `${field} ${server[field]} stands twice`);
    seen.add(server[field]);
  }
}

/** The servers in the text of a group file, by index. GROUP_FILE or VERSION_MISMATCH when it is not one. */
export function parseGroup(path: string, text: string): GroupServer[] {
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch (cause) {
    throw malformed(path, `it is not JSON: ${(cause as Error).message}`, cause);
  }
  if (!isObject(value) || value['format'] !== groupFormat)
    throw malformed(path, `it has no "format": "${groupFormat}"`);
  const { version } = value;
  if (version !== groupVersion) {
    const versions = `it has version ${JSON.stringify(version)}, this program reads version ${groupVersion}`;
    throw new DiasporaError('VERSION_MISMATCH', `group file ${path}: ${versions}`, { path });
  }
  if (!Array.isArray(value['servers'])) throw malformed(path, 'servers is not a list');
  const servers = value['servers'].map((server, position) => parseServer(path, server, position));
  requireUnique(path, servers, 'uuid');
  requireUnique(path, servers, 'index');
  return servers.sort((a, b) => a.index - b.index);
}

export function formatGroup(servers: readonly GroupServer[]): string {
  return `${JSON.stringify({ format: groupFormat, version: groupVersion, servers }, null, 2)}\n`;
}

function unreadable(path: string, cause: unknown): DiasporaError {
  const reason = (cause as { code?: unknown }).code === 'ENOENT' ? 'there is no such file' : (cause as Error).message;
  return malformed(path, reason, cause);
}

/** The servers of a group, by index; at least one. GROUP_FILE when it is missing, malformed or empty. */
export async function readGroup(path: string): Promise<GroupServer[]> {
  let text: string;
  try {
    text = await readFile(path, 'utf8');
  } catch (cause) {
    throw unreadable(path, cause);
  }
  const servers = parseGroup(path, text);
  if (servers.length === 0) throw malformed(path, 'it names no server');
  return servers;
}

/** As readGroup, without a turn of the event loop. */
export function readGroupSync(path: string): GroupServer[] {
  try {
    return parseGroup(path, readFileSync(path, 'utf8'));
  } catch (cause) {
    if (cause instanceof DiasporaError) throw cause;
    throw unreadable(path, cause);
  }
}

async function readIfThere(path: string): Promise<GroupServer[]> {
  try {
    return parseGroup(path, await readFile(path, 'utf8'));
  } catch (error) {
    if ((error as { code?: unknown }).code === 'ENOENT') return [];
    throw error instanceof DiasporaError ? error : unreadable(path, error);
  }
}

async function replaceFile(path: string, text: string): Promise<void> {
  const aside = `${path}.${process.pid}.new`;
  try {
    const file = await open(aside, 'w', 0o644);
    try {
      await file.writeFile(text);
      await file.sync();
    } finally {
      await file.close();
    }
    await rename(aside, path);
  } catch (cause) {
    await rm(aside, { force: true });
    throw cause;
  }
}

/** Changes the list under the lock. NOT_WRITABLE when the file cannot be written. */
async function update<T>(
  path: string,
  change: (servers: GroupServer[]) => { servers: GroupServer[]; result: T },
): Promise<T> {
  try {
    return await withFileLock(path, lockTimeoutMs, async () => {
      const { servers, result } = change(await readIfThere(path));
      await replaceFile(path, formatGroup(servers));
      return result;
    });
  } catch (cause) {
    if (cause instanceof DiasporaError) throw cause;
    throw new DiasporaError('NOT_WRITABLE', `group file ${path}: ${(cause as Error).message}`, { path, cause });
  }
}

/** Adds a server, or replaces its entry. Returns the entry, with the index that it has in the group. */
export function joinGroup(path: string, server: Omit<GroupServer, 'index'>): Promise<GroupServer> {
  return update(path, (servers) => {
    const known = servers.find(({ uuid }) => uuid === server.uuid);
    const next = servers.reduce((most, { index }) => Math.max(most, index + 1), 0);
    const { uuid, address, providers } = server;
    const entry: GroupServer = { uuid, index: known?.index ?? next, address, providers };
    const others = servers.filter(({ uuid: other }) => other !== uuid);
    return { servers: [...others, entry].sort((a, b) => a.index - b.index), result: entry };
  });
}

/** Takes a server out that will not come back. */
export function leaveGroup(path: string, uuid: string): Promise<void> {
  return update(path, (servers) => ({ servers: servers.filter((server) => server.uuid !== uuid), result: undefined }));
}
