/**
 * The rules for the names of topics and consumers. Pure.
 *
 * A name may become a directory, a URL segment or part of `topic:partition`, so the characters that mean something
 * there are refused everywhere, whatever today's storage does with them.
 */
import { DiasporaError } from './errors.js';

/** Longest name, bytes of UTF-8. */
export const nameBytesMax = 256;

// C0 and C1 control characters, DEL, the separators, and halves of surrogate pairs (they have no UTF-8).
const forbidden = /[/\\:]|\p{Cc}|\p{Cs}/u;

/** Why `name` is not allowed; undefined when it is. */
function nameProblem(name: unknown): string | undefined {
  if (typeof name !== 'string') return `must be a string, not ${name === null ? 'null' : typeof name}`;
  if (name === '') return 'must not be empty';
  if (name === '.' || name === '..') return `must not be '${name}'`;
  const bytes = Buffer.byteLength(name, 'utf8');
  if (bytes > nameBytesMax) return `has ${bytes} bytes, at most ${nameBytesMax} are allowed`;
  const match = forbidden.exec(name);
  return match ? `must not contain ${JSON.stringify(match[0])}` : undefined;
}

/**
 * Returns `name`, or throws INVALID_NAME: 1 to 256 bytes of UTF-8 without '/', '\', ':' and control characters, not '.'
 * or '..'.
 */
export function checkName(kind: 'topic' | 'consumer' | 'producer', name: unknown): string {
  const problem = nameProblem(name);
  if (problem === undefined) return name as string;
  const operands = typeof name === 'string' && kind !== 'producer' ? { [kind]: name } : {};
  throw new DiasporaError('INVALID_NAME', `the ${kind} name ${problem}`, operands);
}
