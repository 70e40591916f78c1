/** What the conformance suites share. */
import type { Consumer, Driver, Event, TopicHandle, TopicOptions } from '../../lib/index.js';
import type { Place } from '../support/backends.js';

export interface Numbered {
  readonly n: number;
  readonly [field: string]: unknown;
}

/** Fails a test that would hang; no bound on speed. */
export const watchdog = { timeout: 120_000 };

let topics = 0;

export async function newTopic(
  driver: Driver,
  place: Pick<Place, 'manager'>,
  options: TopicOptions<Numbered> = {},
): Promise<TopicHandle<Numbered>> {
  topics += 1;
  const name = `topic-${process.pid}-${topics}`;
  await driver.createTopic<Numbered>(name, { manager: place.manager, ...options });
  return driver.openTopic<Numbered>(name);
}

export async function pullAll<D>(consumer: Consumer<Numbered, D>, count: number): Promise<Event<Numbered, D>[]> {
  const events: Event<Numbered, D>[] = [];
  for await (const event of consumer) if (events.push(event) === count) break;
  return events;
}
