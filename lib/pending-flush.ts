/** PendingFlush: a flush of a producer that waits for batches, and how it ends. Internal. */
import { DiasporaError } from './errors.js';
import type { Completion } from './future.js';

/** A flush that waits for every batch up to `sequence`. */
export interface PendingFlush {
  readonly sequence: number;
  remaining: number;
  readonly errors: DiasporaError[];
  readonly completion: Completion<void>;
}

/** Nothing is left to wait for. */
export function settleFlush({ errors, completion }: PendingFlush): void {
  const first = errors[0];
  if (first === undefined) {
    completion.resolve();
    return;
  }
  const { code, topic, partition } = first;
  const message =
    errors.length === 1 ? first.message : `${first.message} (the first of ${errors.length} failed batches)`;
  // One of each kind: hundreds of batches may have failed for one reason.
  const kinds = new Map(errors.map((error) => [`${error.partition} ${error.code}`, error]));
  kinds.delete(`${partition} ${code}`);
  completion.reject(new DiasporaError(code, message, { topic, partition, cause: first, errors: [...kinds.values()] }));
}
