/**
 * Which values are the same after a way through JSON text: what a worker makes of the text is then what was pushed. Pure.
 */

/** Objects inside each other; a value that contains itself comes to an end here. */
const depthMax = 256;

/**
 * Whether `value` is made of plain objects, arrays, text, true, false, null and numbers that JSON has, and of nothing
 * else. Not so: undefined, a BigInt, a Date or an instance of a class, a function (so also an own toJSON), NaN and -0.
 */
export function isPlainJson(value: unknown, depth: number = 0): boolean {
  if (typeof value === 'string' || typeof value === 'boolean' || value === null) return true;
  if (typeof value === 'number') return Number.isFinite(value) && !Object.is(value, -0);
  return typeof value === 'object' && depth < depthMax && isPlainObject(value, depth + 1);
}

function isPlainObject(value: object, depth: number): boolean {
  if (Array.isArray(value)) {
    if (Object.getPrototypeOf(value) !== Array.prototype) return false;
    // By index: a hole is undefined, and JSON writes null for it.
    for (let i = 0; i < value.length; i++) if (!isPlainJson(value[i], depth)) return false;
    return true;
  }
  if (Object.getPrototypeOf(value) !== Object.prototype) return false;
  for (const key of Object.keys(value)) {
    if (!isPlainJson((value as Record<string, unknown>)[key], depth)) return false;
  }
  return true;
}
