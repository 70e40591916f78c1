/**
 * What a pool and its workers say to each other, and the memory that they share.
 *
 * Events go out in groups, one message each; results come back in parts of a group, one message each. Of every group the
 * worker claims one event after the other from a shared counter, so that the pool knows which one is being worked on, and
 * can take back those that are not.
 */
import type { SentDiasporaError } from './error-transport.js';
import type { StageStep } from './run-stages.js';
import type { StageSetup } from './stage-setup.js';

/** Groups that a worker has at a time: one that it works on, and one so that it need not wait for the next. */
export const groupsPerThread = 2;
/** Larger than any group: what a counter of claims is set to so that nothing more of the group is begun. */
export const claimedAll: number = 2 ** 30;

/** What a worker is started with. */
export interface ThreadData {
  readonly port: import('node:worker_threads').MessagePort;
  /** Counted up, and notified, with each message of a worker of this environment: what a blocking wait sleeps on. */
  readonly signal: Int32Array;
  /** For group n, at n % groupsPerThread: events of it that are claimed. */
  readonly claims: Int32Array;
}

export type ToThread =
  | { readonly kind: 'setup'; readonly setup: StageSetup }
  /** The topic's handle is gone. */
  | { readonly kind: 'forget'; readonly id: number }
  | GroupMessage;

/** Events of one setup; entry i of each list is of event i. */
export interface GroupMessage {
  readonly kind: 'group';
  readonly setup: number;
  readonly slot: number;
  /** The texts of all, one behind the other, and where each ends: one long string is cheaper to send than many. */
  readonly text: string;
  readonly ends: Int32Array;
  /** Whether the text is what was pushed; missing where that makes no difference. */
  readonly isVerbatim?: readonly boolean[];
  /** Partitions asked for; missing where none was, or the caller's thread selects. */
  readonly requested?: readonly (number | undefined)[];
}

export type FromThread =
  /** It runs, and takes groups. */
  | { readonly kind: 'ready' }
  /** It is about to end. `error`: what nobody has caught. */
  | { readonly kind: 'ending'; readonly code: number; readonly error: SentDiasporaError | undefined }
  | PartMessage;

/** The next `count` results of the oldest group that is not done. Lists are missing where they would say nothing. */
export interface PartMessage {
  readonly kind: 'part';
  readonly count: number;
  /** Nothing more comes of this group. */
  readonly isLast: boolean;
  /** Spent on these events. */
  readonly tookMs: number;
  /** What the selector gave, where the worker selects. */
  readonly partitions?: readonly unknown[];
  /** Text to store; undefined: the text that was sent. */
  readonly texts?: readonly (string | undefined)[];
  /** Bytes to store of all events, one behind the other, and where those of each end. */
  readonly bytes?: Uint8Array;
  readonly ends?: readonly number[];
  readonly failures?: readonly SentFailure[];
}

export interface SentFailure {
  /** Among the results of the part. */
  readonly index: number;
  readonly step: StageStep;
  readonly error: SentDiasporaError;
}
