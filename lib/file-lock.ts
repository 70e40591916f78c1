/**
 * A lock between processes of one host or one shared file system: the file `PATH.lock`, created exclusively, for work of
 * some milliseconds. Internal.
 *
 * A lock is stale when its holder, a process of this host, is gone, or when it is older than any holder needs. A stale
 * lock is taken away by renaming it, and put back when it turns out to be somebody's new one: two processes that find
 * the same stale lock cannot both come through.
 */
import { link, readFile, rename, rm, stat, writeFile } from 'node:fs/promises';
import { hostname } from 'node:os';
import { setTimeout as sleep } from 'node:timers/promises';
import { DiasporaError } from './errors.js';

/** Older than this, a lock is stale whoever holds it: the work under it takes milliseconds. */
const staleAfterMs = 30_000;
const retryEveryMs = 20;

let namesMade = 0;

/** Unlike any other name of this process. */
function uniqueName(): string {
  namesMade += 1;
  return `${process.pid}-${namesMade}`;
}

function codeOf(error: unknown): unknown {
  return (error as { code?: unknown } | null)?.code;
}

function isAlive(pid: number): boolean {
  try {
    process.kill(pid, 0);
    return true;
  } catch (error) {
    return codeOf(error) === 'EPERM';
  }
}

/** Whether the lock's holder is gone. `text` is what it wrote; a lock that is being written has none yet. */
async function isStale(lock: string, text: string): Promise<boolean> {
  const [host, pid] = text.split(' ');
  if (host === hostname() && Number(pid) > 0) return !isAlive(Number(pid));
  try {
    return Date.now() - (await stat(lock)).mtimeMs > staleAfterMs;
  } catch {
    return false;
  }
}

async function readLock(lock: string): Promise<string | undefined> {
  try {
    return await readFile(lock, 'utf8');
  } catch (error) {
    if (codeOf(error) === 'ENOENT') return undefined;
    throw error;
  }
}

async function removeIfStale(lock: string): Promise<void> {
  const text = await readLock(lock);
  if (text === undefined || !(await isStale(lock, text))) return;
  const aside = `${lock}.${uniqueName()}.stale`;
  try {
    await rename(lock, aside);
  } catch (error) {
    if (codeOf(error) === 'ENOENT') return;
    throw error;
  }
  if ((await readLock(aside)) !== text) await link(aside, lock).catch(() => undefined);
  await rm(aside, { force: true });
}

async function acquire(lock: string, timeoutMs: number): Promise<string> {
  const text = `${hostname()} ${process.pid} ${uniqueName()} ${Date.now()}`;
  const deadline = performance.now() + timeoutMs;
  for (;;) {
    try {
      await writeFile(lock, text, { flag: 'wx' });
      return text;
    } catch (error) {
      if (codeOf(error) !== 'EEXIST') throw error;
    }
    await removeIfStale(lock);
    if (performance.now() > deadline) {
      throw new DiasporaError('TIMEOUT', `${lock} is held by another process; remove it if that process is gone`, {
        path: lock,
      });
    }
    await sleep(retryEveryMs);
  }
}

/** Runs `work` while `path` is locked. TIMEOUT when the lock cannot be had within `timeoutMs`. */
export async function withFileLock<T>(path: string, timeoutMs: number, work: () => Promise<T>): Promise<T> {
  const lock = `${path}.lock`;
  const text = await acquire(lock, timeoutMs);
  try {
    return await work();
  } finally {
    // Only ours: somebody may have judged it stale, if this process was stopped for long.
    if ((await readLock(lock)) === text) await rm(lock, { force: true });
  }
}
