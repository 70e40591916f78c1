/** A member of a consumer group: tells each run of events that it has processed, then acknowledges it. */
import { DiasporaError, Driver, type EventBatch } from '../../lib/index.js';
import { optionsOf, tell } from '../support/child.js';

export interface MemberProgramOptions {
  readonly groupFile: string;
  readonly provider: string;
  readonly topic: string;
  readonly name: string;
  readonly sessionTimeoutMs: number;
}

/** What it tells: partitions that it was given, or events [first, last] of a partition that it has processed. */
export type MemberMessage =
  | { readonly granted: readonly number[] }
  | { readonly partition: number; readonly first: number; readonly last: number };

const { groupFile, provider, topic, name, sessionTimeoutMs } = optionsOf<MemberProgramOptions>();
const driver = await Driver.open({ driver: 'fabric', groupFile, provider });
const consumer = (await driver.openTopic(topic)).consumer({
  name,
  sessionTimeoutMs,
  onAssign: (granted) => void tell({ granted } satisfies MemberMessage),
});
const stop = new AbortController();
process.once('message', () => stop.abort());

async function handle(batch: EventBatch<unknown, undefined>): Promise<void> {
  const [{ id: first }, last] = [batch.events[0], batch.at(-1) ?? batch.events[0]];
  // Told before it is acknowledged: what nobody else will get is known, whenever this process is killed.
  await tell({ partition: batch.partition, first: Number(first), last: Number(last.id) } satisfies MemberMessage);
  await batch.acknowledge();
}

try {
  for await (const batch of consumer.batches({ signal: stop.signal })) await handle(batch);
} catch (error) {
  if (!(error instanceof DiasporaError && error.code === 'ABORTED')) throw error;
}
await driver.close();
process.disconnect();
