/**
 * Ordering: whether the events of one producer may overtake each other on their way to one partition.
 */

/** See {@link Ordering}. */
export const Ordering = {
  /** Events that go to one partition are stored in the order of their pushes, whichever worker is done first. */
  Strict: 'strict',
  /** An event may be overtaken by one whose stages finish sooner, in a thread pool. On the caller's thread none is. */
  Loose: 'loose',
} as const;

/** `Ordering.Strict` (default) or `Ordering.Loose`. */
export type Ordering = (typeof Ordering)[keyof typeof Ordering];
