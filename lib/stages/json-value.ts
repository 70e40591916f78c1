/**
 * What JSON makes of a value of JavaScript, one level at a time: toJSON is called, boxed primitives are unboxed, what
 * JSON leaves out is undefined. The codec goes by these values, so that it stores what JSON.stringify would have.
 */
import { types } from 'node:util';
import { Refusal } from './refusal.js';

/** JSON.rawJSON is newer than the oldest Node.js that this package supports. */
const { isRawJSON } = JSON as { isRawJSON?: (value: unknown) => boolean };

export function isObject(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}

function hasToJSON(value: unknown): value is { toJSON: (key: string) => unknown } {
  return typeof (value as { toJSON?: unknown }).toJSON === 'function';
}

/** JSON writes `value` as it is: its own toJSON has been called already. */
function asIs(value: unknown): { toJSON: () => unknown } {
  return { toJSON: () => value };
}

/** Number, String, Boolean and raw JSON objects become the primitives that JSON writes for them. */
function unbox(value: object): unknown {
  const prototype: unknown = Object.getPrototypeOf(value);
  if (prototype === Object.prototype || prototype === Array.prototype) return value;
  const isBoxed = types.isBoxedPrimitive(value) && !types.isSymbolObject(value);
  return isBoxed || isRawJSON?.(value) ? JSON.parse(JSON.stringify(asIs(value))) : value;
}

/** The value that JSON sees at `key`; undefined when JSON leaves it out. What is inside of it is not looked at. */
export function jsonValue(value: unknown, key: string | number): unknown {
  const type = typeof value;
  if (type === 'string' || type === 'number' || type === 'boolean' || value === null || value === undefined) {
    return value;
  }
  const seen = hasToJSON(value) ? value.toJSON(String(key)) : value;
  if (typeof seen === 'object' && seen !== null) return unbox(seen);
  return typeof seen === 'function' || typeof seen === 'symbol' ? undefined : seen;
}

/** JSON text of a value that jsonValue gave. */
export function jsonText(value: unknown): string {
  if (value === undefined) throw new Refusal('must be a JSON value, not undefined');
  // A BigInt may have a toJSON, which jsonValue has called: what it gave is no JSON.
  if (typeof value === 'bigint') throw new Refusal('must be a JSON value, not a BigInt');
  try {
    return JSON.stringify(value !== null && hasToJSON(value) ? asIs(value) : value);
  } catch (error) {
    throw new Refusal(`cannot be written as JSON: ${(error as Error).message}`, error);
  }
}

/** Text that is the same for equal JSON values, whatever the order of their keys. */
export function canonicalText(value: unknown): string {
  if (Array.isArray(value)) return `[${value.map(canonicalText).join()}]`;
  if (!isObject(value)) return JSON.stringify(value);
  const members = Object.keys(value).sort();
  return `{${members.map((name) => `${JSON.stringify(name)}:${canonicalText(value[name])}`).join()}}`;
}

/** Sets an own property, also where Object.prototype has a setter or a read-only value of that name. */
export function setOwn(target: Record<string, unknown>, name: string, value: unknown): void {
  if (name in Object.prototype) {
    Object.defineProperty(target, name, { value, writable: true, enumerable: true, configurable: true });
  } else {
    target[name] = value;
  }
}
