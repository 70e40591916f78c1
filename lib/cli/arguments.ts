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
