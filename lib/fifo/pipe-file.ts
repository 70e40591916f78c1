/**
 * Named pipes of the file system: made, opened and read without ever blocking, neither this thread nor one of libuv's few.
 */
import { execFile } from 'node:child_process';
import { closeSync, constants, fstatSync, openSync, readSync } from 'node:fs';
import { stat } from 'node:fs/promises';
import { promisify } from 'node:util';
import { DiasporaError, wrapError } from '../errors.js';

/**
 * Most bytes that are in a pipe: the bound of Linux on what an unprivileged process may ask for (it is 64 KiB unless
 * somebody asks, and 1 MiB with pages of 64 KiB).
 */
export const pipeBytesMax: number = 2 ** 20;

/** What is written at once in so many bytes is in the pipe whole or not at all (PIPE_BUF). */
export const atomicBytes = 4096;

function codeOf(error: unknown): unknown {
  return (error as NodeJS.ErrnoException).code;
}

async function isPipe(path: string): Promise<boolean> {
  try {
    if ((await stat(path)).isFIFO()) return true;
  } catch (error) {
    if (codeOf(error) === 'ENOENT') return false;
    throw wrapError('INVALID_ARGUMENT', `${path} cannot be used`, error, { path });
  }
  throw new DiasporaError('INVALID_ARGUMENT', `${path} is there and not a named pipe`, { path });
}

/**
 * Makes the pipe unless it is there; whether it did. NOT_WRITABLE when it cannot, INVALID_ARGUMENT when something else is
 * there.
 */
export async function makePipe(path: string): Promise<boolean> {
  if (await isPipe(path)) return false;
  try {
    await promisify(execFile)('mkfifo', ['--', path]);
    return true;
  } catch (error) {
    // Somebody else may have made it meanwhile.
    if (await isPipe(path)) return false;
    throw wrapError('NOT_WRITABLE', `the pipe ${path} cannot be made`, error, { path });
  }
}

function openPipe(path: string, access: number): number {
  const fd = openSync(path, access | constants.O_NONBLOCK);
  if (fstatSync(fd).isFIFO()) return fd;
  closeSync(fd);
  throw new DiasporaError('INVALID_ARGUMENT', `${path} is not a named pipe`, { path });
}

/** The pipe behind a descriptor as a path: it stays the same when the name in the file system changes. */
export function pathOf(fd: number): string {
  return `/proc/self/fd/${fd}`;
}

/** Opens for reading; there need be no writer. */
export function openForReading(path: string): number {
  return openPipe(path, constants.O_RDONLY);
}

/** Opens for writing; undefined when there is no reader. */
export function openForWriting(path: string): number | undefined {
  try {
    return openPipe(path, constants.O_WRONLY);
  } catch (error) {
    if (codeOf(error) === 'ENXIO') return undefined;
    throw error;
  }
}

/** Opens for writing although there may be no reader: what is in the pipe stays there while this is open. */
export function openKeeper(path: string): number {
  const reader = openForReading(path);
  try {
    return openPipe(path, constants.O_WRONLY);
  } finally {
    closeSync(reader);
  }
}

/** Reads what is there: the number of bytes, 0 when there is nothing and no writer, undefined when there is a writer. */
export function readNow(fd: number, buffer: Buffer): number | undefined {
  try {
    return readSync(fd, buffer);
  } catch (error) {
    if (codeOf(error) === 'EAGAIN') return undefined;
    throw error;
  }
}
