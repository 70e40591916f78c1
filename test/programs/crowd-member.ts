/** One of many clients: four consumers on one driver read everything; stays connected until told to end. */
import { Driver, fullData } from '../../lib/index.js';
import { optionsOf, tell } from '../support/child.js';
import { isPattern } from '../support/pattern.js';

export interface CrowdMemberOptions {
  readonly groupFile: string;
  readonly provider: string;
  readonly topic: string;
  readonly who: number;
  readonly events: number;
}

const { groupFile, provider, topic, who, events } = optionsOf<CrowdMemberOptions>();
const driver = await Driver.open({ driver: 'fabric', groupFile, provider, connectTimeoutMs: 120_000 });
const handle = await driver.openTopic<{ n: number }>(topic);

async function readAll(name: string): Promise<{ seen: number; wrong: number }> {
  const consumer = handle.consumer({ name, dataSelector: fullData, windowBytes: 8 * 2 ** 20 });
  let seen = 0;
  let wrong = 0;
  for await (const event of consumer) {
    if (!isPattern(event.metadata.n, event.data)) wrong += 1;
    seen += 1;
    if (seen === events) break;
  }
  return { seen, wrong };
}

const results = await Promise.all([0, 1, 2, 3].map((i) => readAll(`member-${who}-${i}`)));
process.on('message', () => void driver.close().then(() => process.disconnect()));
await tell({ seen: results.map(({ seen }) => seen), wrong: results.reduce((sum, { wrong }) => sum + wrong, 0) });
