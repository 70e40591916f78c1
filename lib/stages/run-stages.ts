/**
 * One event through the stages of a producer, up to what is to be stored: what a worker does, and the caller's thread
 * for a value that only it has.
 */
import type { Stages } from './stages.js';
import type { EventData, PartitionSelectorFunction } from './types.js';

/** The stage that refused. What comes before the selector's turn costs a round robin no turn. */
export type StageStep = 'validator' | 'selector' | 'serializer';

/** What the stages have made of an event. Of `stored` and `thrown` at most one is set. */
export interface StageOutcome {
  /** What the selector gave; undefined where the caller's thread selects, or it was not reached. */
  readonly partition: unknown;
  /** What to store; undefined: the text that was given, byte for byte. */
  readonly stored: string | Uint8Array | undefined;
  /** Set when a stage refused. */
  readonly step?: StageStep;
  readonly thrown?: unknown;
}

/** Metadata on its way through the stages. */
export interface StageInput {
  /** Gives the value; INVALID_METADATA for text that is not JSON. */
  readonly read: () => unknown;
  /** The text that the value was read from. */
  readonly text: string | undefined;
  /** The text is what was pushed, not written for the way to here: it is stored where no stage has changed the value. */
  readonly isVerbatim: boolean;
  readonly data: EventData | undefined;
  readonly requested: number | undefined;
}

/** The stages as one producer needs them. */
export interface StageRun {
  readonly stages: Stages;
  /** Undefined: the caller's thread selects, when the event's turn has come. */
  readonly select: PartitionSelectorFunction<unknown> | undefined;
  readonly partitions: number;
  /** A stage may change the value in place. */
  readonly mayChange: boolean;
}

/** Never throws. Bytes in `stored` are valid until the next call. */
export function runStages({ stages, select, partitions, mayChange }: StageRun, input: StageInput): StageOutcome {
  let step: StageStep = 'validator';
  let partition: unknown;
  try {
    const given = input.read();
    const value = stages.validate(given, input.data);
    if (select !== undefined) {
      step = 'selector';
      partition = select(value, { partitions, requested: input.requested });
    }
    step = 'serializer';
    const isSame = value === given && !stages.hasSerializer && input.text !== undefined;
    if (isSame && (input.isVerbatim || !mayChange)) return { partition, stored: undefined };
    return { partition, stored: stages.serialize(value) };
  } catch (thrown) {
    return { partition, stored: undefined, step, thrown };
  }
}
