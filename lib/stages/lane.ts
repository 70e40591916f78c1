/** Lane: the queue of one producer in a pool, and how large its groups are. */
import { Fifo } from './fifo.js';
import type { StageOutcome } from './run-stages.js';
import type { StageSetup } from './stage-setup.js';

/** An event on its way through the stages. */
export interface StageJob {
  readonly text: string;
  /** The text is what was pushed. */
  readonly isVerbatim: boolean;
  readonly requested: number | undefined;
  /** It has an outcome, or nobody wants one any more. */
  done: boolean;
  complete(outcome: StageOutcome): void;
}

/** What the stages of one group should take, milliseconds; a message there and back costs about a hundredth of it. */
const groupMs = 0.5;
/** Events in a group: more would not make messages cheaper. */
export const groupEventsMax = 256;
/** Characters in a group: large metadata should be spread over the workers. */
const groupCharactersMax = 2 ** 20;

/** The events of one producer that no worker has, and what is known of its stages. Owner: the pool. */
export class Lane {
  readonly setup: StageSetup;
  /** What an event took lately; undefined: not known yet. */
  averageMs: number | undefined;
  /** Workers in a row that ended while they made its stages. */
  fruitless = 0;
  readonly queue: Fifo<StageJob> = new Fifo();

  constructor(setup: StageSetup) {
    this.setup = setup;
  }

  /** Takes jobs for one group; none when all were cancelled. */
  take(): StageJob[] {
    // The first events are sent alone: nothing is known of them.
    const wanted = this.averageMs === undefined ? 1 : Math.ceil(groupMs / this.averageMs);
    const jobs: StageJob[] = [];
    let characters = 0;
    while (jobs.length < Math.min(wanted, groupEventsMax) && characters < groupCharactersMax) {
      const job = this.queue.shift();
      if (job === undefined) break;
      if (job.done) continue;
      jobs.push(job);
      characters += job.text.length;
    }
    return jobs;
  }
}
