/** What the conformance suites share. */
import { after, before } from 'node:test';
import type { Consumer, Driver, Event, TopicHandle, TopicOptions } from '../../lib/index.js';
import type { Backend, Place } from '../support/backends.js';

export interface Numbered {
  readonly n: number;
  readonly [field: string]: unknown;
}

/** Fails a test that would hang; no bound on speed. */
export const watchdog = { timeout: 120_000 };

/** Opens what the tests of a suite run on, before the first of them, and closes it behind the last. */
export function withPlace(backend: Backend, use: (place: Place, driver: Driver) => void): void {
  const closers: (() => unknown)[] = [];
  let driver: Driver;
  before(async () => {
    const place = await backend.start({ after: (close) => void closers.push(close as () => unknown) });
    driver = await place.open();
    use(place, driver);
  });
  after(async () => {
    await driver.close();
    for (const close of closers.reverse()) await close();
  });
}

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
