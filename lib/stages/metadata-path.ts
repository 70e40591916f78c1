/** Paths into metadata, for selectors that go by one value of it. Pure. */
import { invalidOption } from '../options.js';

function isSteps(path: unknown): path is string[] {
  return Array.isArray(path) && path.length > 0 && path.every((step) => typeof step === 'string' && step !== '');
}

/** A function that gives the value at `path`, own properties only, or undefined. Throws INVALID_ARGUMENT. */
export function compilePath(what: string, path: unknown): (metadata: unknown) => unknown {
  const steps = typeof path === 'string' ? path.split('.') : path;
  if (!isSteps(steps)) throw invalidOption(what, "a path like 'detector.id' or ['detector', 'id']", path);
  return (metadata) => {
    let value = metadata;
    for (const step of steps) {
      if (typeof value !== 'object' || value === null || !Object.hasOwn(value, step)) return undefined;
      value = (value as Record<string, unknown>)[step];
    }
    return value;
  };
}
