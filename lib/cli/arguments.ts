/** Parsers of command line values: each returns the value or throws what commander reports as a usage error (exit 2). */
import { InvalidArgumentError } from 'commander';

export function parseCount(text: string): number {
  const value = Number(text);
  if (!/^\d+$/.test(text) || !Number.isSafeInteger(value)) throw new InvalidArgumentError('It must be a whole number.');
  return value;
}

/** For options that may be given several times: `--partition 0 --partition 2`. */
export function parseEach(text: string, list: readonly number[] = []): number[] {
  return [...list, parseCount(text)];
}

export function parsePositive(text: string): number {
  const value = parseCount(text);
  if (value === 0) throw new InvalidArgumentError('It must be at least 1.');
  return value;
}

/** As timers of this process, and of the core, take it. */
const timerMax = 2 ** 31 - 1;

/** How long something is waited for; 0: not at all. */
export function parseWait(text: string): number {
  const value = parseCount(text);
  if (value > timerMax) throw new InvalidArgumentError(`It must be at most ${timerMax}.`);
  return value;
}

/** How long something is waited for. */
export function parseTimeout(text: string): number {
  parsePositive(text);
  return parseWait(text);
}

const timeUnits: Readonly<Record<string, number>> = { ms: 1, s: 1000, m: 60_000, h: 3_600_000, d: 86_400_000 };

/** Milliseconds: 500ms, 90s, 15m, 12h, 7d, or a number of milliseconds. */
export function parseDuration(text: string): number {
  const match = /^(\d+(?:\.\d+)?)(ms|s|m|h|d)?$/.exec(text);
  const ms = Math.round(Number(match?.[1]) * (timeUnits[match?.[2] ?? 'ms'] as number));
  if (!Number.isSafeInteger(ms)) throw new InvalidArgumentError('It must be a time, for example 90s, 12h or 7d.');
  return ms;
}

const byteUnits: Readonly<Record<string, number>> = { '': 1, K: 2 ** 10, M: 2 ** 20, G: 2 ** 30, T: 2 ** 40 };

/** 4096, 512K, 2GiB, 1.5G: binary units. */
export function parseBytes(text: string): number {
  const match = /^(\d+(?:\.\d+)?)\s*([KMGT]?)(?:i?B)?$/i.exec(text);
  const bytes = Number(match?.[1]) * (byteUnits[(match?.[2] ?? '').toUpperCase()] ?? Number.NaN);
  if (!Number.isSafeInteger(Math.round(bytes))) {
    throw new InvalidArgumentError('It must be a number of bytes, for example 4096, 512MiB or 2GiB.');
  }
  return Math.round(bytes);
}
