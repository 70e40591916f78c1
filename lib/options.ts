/**
 * Reading of option objects: every noun parses its options through these, so that a misspelled or mistyped option is an
 * error with its name in it and never a silent default. Pure; the caller's object is never changed.
 */
import { DiasporaError, type ErrorCode } from './errors.js';

function describe(value: unknown): string {
  if (typeof value === 'string') return JSON.stringify(value);
  if (typeof value === 'object') return value === null ? 'null' : 'an object';
  return typeof value === 'function' ? 'a function' : String(value);
}

/** The error of an option: `name` must be `expected`. */
export function invalidOption(
  name: string,
  expected: string,
  actual: unknown,
  code: ErrorCode = 'INVALID_ARGUMENT',
): DiasporaError {
  return new DiasporaError(code, `${name} must be ${expected}, not ${describe(actual)}`);
}

/** An options object, or {} for undefined. Unknown keys are refused: they are misspellings. */
export function checkKeys<T extends object>(what: string, options: T | undefined, known: readonly string[]): T {
  if (options === undefined) return {} as T;
  if (typeof options !== 'object' || options === null)
    throw invalidOption(`the options of ${what}`, 'an object', options);
  for (const key of Object.keys(options)) {
    if (known.includes(key)) continue;
    throw new DiasporaError('INVALID_ARGUMENT', `${what} has no option '${key}'; it has ${known.join(', ')}`);
  }
  return options;
}

export interface IntegerRule {
  readonly min: number;
  readonly max?: number;
  readonly fallback: number;
}

/** An integer within [min, max]; `fallback` for undefined. */
export function integerOption(name: string, value: number | undefined, rule: IntegerRule): number {
  const max = rule.max ?? Number.MAX_SAFE_INTEGER;
  if (value === undefined) return rule.fallback;
  if (Number.isSafeInteger(value) && value >= rule.min && value <= max) return value;
  const range = max === Number.MAX_SAFE_INTEGER ? `of at least ${rule.min}` : `of ${rule.min} to ${max}`;
  throw invalidOption(name, `an integer ${range}`, value);
}

/** One of `allowed`; `fallback` for undefined. */
export function choiceOption<T extends string>(
  name: string,
  value: T | undefined,
  allowed: readonly T[],
  fallback: T,
): T {
  if (value === undefined) return fallback;
  if (allowed.includes(value)) return value;
  throw invalidOption(name, allowed.map((choice) => `'${choice}'`).join(', '), value);
}

export function booleanOption(name: string, value: boolean | undefined, fallback: boolean): boolean {
  if (value === undefined) return fallback;
  if (typeof value === 'boolean') return value;
  throw invalidOption(name, 'true or false', value);
}

export function stringOption(name: string, value: string | undefined, fallback: string): string {
  if (value === undefined) return fallback;
  if (typeof value === 'string' && value !== '') return value;
  throw invalidOption(name, 'a string that is not empty', value);
}

/**
 * For each adapter that `domain` names, with commas, the providers on it, with commas: what the core takes. Without a
 * domain one entry, whose adapter follows from the address.
 */
export function railsOption(provider: string | undefined, domain: string | undefined): string[] {
  const names = stringOption('provider', provider, 'auto');
  if (domain === undefined) return [names];
  if (typeof domain !== 'string' || !/^[^@,\s]+(,[^@,\s]+)*$/.test(domain)) {
    throw invalidOption('domain', 'the name of an adapter or interface, or several with commas', domain);
  }
  return domain.split(',').map((rail) =>
    names
      .split(',')
      .map((name) => `${name}@${rail}`)
      .join(','),
  );
}

export function functionOption<T>(name: string, value: T | undefined): T | undefined {
  if (value === undefined || typeof value === 'function') return value;
  throw invalidOption(name, 'a function', value);
}

/** A host and port as in `host:port`, `tcp://host:port` or `[v6]:port`. */
export interface Endpoint {
  readonly host: string;
  readonly port: number;
}

/** Throws INVALID_ARGUMENT naming `what` and the text. Port 0 means any free one (only for listening). */
export function parseEndpoint(what: string, text: string): Endpoint {
  const match = /^(?:tcp:\/\/)?(?:\[([0-9a-fA-F:.%]+)\]|([^:/[\]]+)):(\d{1,5})\/?$/.exec(String(text));
  const host = match?.[1] ?? match?.[2];
  const port = Number(match?.[3]);
  if (host === undefined || port > 65535) {
    throw new DiasporaError('INVALID_ARGUMENT', `${what} must be host:port or tcp://host:port, not ${describe(text)}`, {
      address: String(text),
    });
  }
  return { host, port };
}

/** `host:port`, with brackets around an IPv6 address. */
export function formatEndpoint({ host, port }: Endpoint): string {
  return host.includes(':') ? `[${host}]:${port}` : `${host}:${port}`;
}
