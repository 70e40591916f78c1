/**
 * What every command needs of its terminal: output that survives a closed pipe, one-line errors, and Ctrl-C as an
 * AbortSignal. The only place of the library that writes to stdout and stderr.
 */
import { once } from 'node:events';
import { DiasporaError } from '../errors.js';
import type { LogLine } from '../runtime.js';

/** Writes one line; resolves when the reader has room for more. */
export async function printLine(line: string): Promise<void> {
  if (!process.stdout.write(`${line}\n`)) await once(process.stdout, 'drain');
}

/** A remark for the person at the terminal; never mixed with the output. */
export function note(line: string): void {
  process.stderr.write(`${line}\n`);
}

/** A line of a server or driver for the operator. */
export function noteLog({ level, message }: LogLine): void {
  note(`${level}: ${message}`);
}

/** One line: what was wrong and what to do, with the stable code of a DiasporaError. */
export function errorLine(error: unknown): string {
  const text = (error instanceof Error ? error.message : String(error)).replaceAll(/\s*\n\s*/g, ' ');
  return error instanceof DiasporaError ? `diaspora: ${text} [${error.code}]` : `diaspora: ${text}`;
}

/**
 * What happens when output cannot be written. A reader of stdout that has gone away (`diaspora consume x | head`) is an
 * end, not an error; anything else, such as a full disk, is one. Remarks that nobody reads any more (`diaspora serve 2>&1 |
 * tee log`, where Ctrl-C reaches tee as well) are lost, and the command goes on: it has things to put in order.
 */
export function endWithOutput(): void {
  process.stdout.on('error', (error: NodeJS.ErrnoException) => {
    if (error.code === 'EPIPE') process.exit(0);
    note(errorLine(error));
    process.exit(1);
  });
  process.stderr.on('error', () => undefined);
}

/**
 * Runs `work` with a signal that the first SIGINT or SIGTERM aborts; `work` then stops cleanly. The second one ends the
 * process at once, for those who cannot wait.
 */
export async function untilInterrupted(work: (interrupted: AbortSignal) => Promise<void>): Promise<void> {
  const controller = new AbortController();
  const onSignal = (signal: NodeJS.Signals): void => {
    if (controller.signal.aborted) process.exit(signal === 'SIGINT' ? 130 : 143);
    controller.abort();
  };
  process.on('SIGINT', onSignal);
  process.on('SIGTERM', onSignal);
  try {
    await work(controller.signal);
  } finally {
    process.off('SIGINT', onSignal);
    process.off('SIGTERM', onSignal);
  }
}

/** Resolves to undefined when `signal` aborts, for races with work that cannot be aborted. */
export function aborted(signal: AbortSignal): Promise<undefined> {
  return new Promise((resolve) => {
    if (signal.aborted) resolve(undefined);
    else signal.addEventListener('abort', () => resolve(undefined), { once: true });
  });
}

const units = ['B', 'KiB', 'MiB', 'GiB', 'TiB'];

/** 1536 -> '1.5 KiB'. */
export function formatBytes(bytes: number): string {
  let value = bytes;
  let unit = 0;
  while (value >= 1024 && unit < units.length - 1) {
    value /= 1024;
    unit++;
  }
  return `${Number.isInteger(value) ? value : value.toFixed(1)} ${units[unit]}`;
}
