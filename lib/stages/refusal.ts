/**
 * Refusal: why a value or its bytes cannot be coded, and where. Made where the rule is broken; the objects and arrays
 * around it add their step to the path on the way out, so that coding itself keeps no path. It never leaves
 * schema-codec.ts, which makes a DiasporaError of it.
 */

/** Longest text of a value that is shown in a message. */
const shownCharactersMax = 60;

/** One step of a path: the name of a property or the index of an item. */
export type Step = string | number;

function formatStep(step: Step): string {
  if (typeof step === 'number') return `[${step}]`;
  return /^[\p{L}_$][\p{L}\p{N}_$]*$/u.test(step) ? `.${step}` : `[${shorten(JSON.stringify(step))}]`;
}

function shorten(text: string): string {
  return text.length <= shownCharactersMax ? text : `${text.slice(0, shownCharactersMax - 3)}...`;
}

/** A value for people. */
export function show(value: unknown): string {
  if (Array.isArray(value)) return 'an array';
  if (typeof value === 'object' && value !== null) return 'an object';
  return shorten(typeof value === 'string' ? JSON.stringify(value) : String(value));
}

/** The rule that is broken, as a sentence whose subject is the path. */
export class Refusal extends Error {
  #path = '';

  constructor(rule: string, cause?: unknown) {
    super(rule, cause === undefined ? undefined : { cause });
  }

  /** The same refusal, seen from one level further out. */
  within(step: Step): this {
    this.#path = formatStep(step) + this.#path;
    return this;
  }

  /** `metadata.energy: must be ...` */
  get text(): string {
    return `metadata${this.#path}: ${this.message}`;
  }
}

/** The refusal of a value that is not what it has to be. */
export function mustBe(expected: string, value: unknown): Refusal {
  return new Refusal(`must be ${expected}, not ${show(value)}`);
}

/** What was thrown inside `step`: a refusal learns where it was, anything else passes through. */
export function located(error: unknown, step: Step): unknown {
  return error instanceof Refusal ? error.within(step) : error;
}
