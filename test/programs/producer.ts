/** Pushes numbered events into every partition in turn; tells how many were acknowledged. */
import { setTimeout as sleep } from 'node:timers/promises';
import { Driver } from '../../lib/index.js';
import { optionsOf, tell } from '../support/child.js';
import { pattern } from '../support/pattern.js';

export interface ProducerProgramOptions {
  readonly groupFile: string;
  readonly provider: string;
  readonly topic: string;
  /** Tells producers apart. */
  readonly who: number;
  readonly events: number;
  readonly dataBytes: number;
  /** Events a second at most. Default: as fast as it goes. */
  readonly rate?: number;
  readonly connectTimeoutMs?: number;
  readonly reconnectTimeoutMs?: number;
  /** Tell 'connected' before the work begins. */
  readonly announces?: boolean;
  /** All events have the data of the first, in the same memory. */
  readonly sameData?: boolean;
  /** Tell the number of each event when it is acknowledged. */
  readonly tellsEach?: boolean;
}

const given = optionsOf<ProducerProgramOptions>();
const { groupFile, provider, topic, who, events, dataBytes, rate = Infinity } = given;
const { connectTimeoutMs = 5000, reconnectTimeoutMs = 30_000 } = given;
const driver = await Driver.open({ driver: 'fabric', groupFile, provider, connectTimeoutMs, reconnectTimeoutMs });
const handle = await driver.openTopic(topic);
const producer = handle.producer();
const first = given.sameData === true ? pattern(0, dataBytes) : undefined;
const start = performance.now();
if (given.announces === true) await tell('connected');
for (let n = 0; n < events; n += 1) {
  const partition = n % handle.partitions;
  const data = dataBytes === 0 ? undefined : (first ?? pattern(n, dataBytes));
  const future = producer.push(`{"who":${who},"n":${n}}`, data, { partition });
  if (given.tellsEach === true) void future.then(() => tell(n));
  if (n % 64 !== 0) continue;
  await producer.ready;
  const early = (n / rate) * 1000 - (performance.now() - start);
  if (early > 0) await sleep(early);
}
await producer.flush();
const { eventsProduced } = driver.counters();
await driver.close();
await tell({ pushed: events, acknowledged: eventsProduced, errors: producer.errorCount });
process.disconnect();
