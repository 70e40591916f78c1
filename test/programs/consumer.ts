/** Consumes a number of events and checks order, repetition and bytes; tells what it saw. */
import { Driver, fullData } from '../../lib/index.js';
import { optionsOf, tell } from '../support/child.js';
import { isPattern } from '../support/pattern.js';

export interface ConsumerProgramOptions {
  readonly groupFile: string;
  readonly provider: string;
  readonly topic: string;
  readonly name: string;
  readonly partitions: readonly number[];
  readonly events: number;
  readonly dataBytes: number;
  readonly reconnectTimeoutMs?: number;
  /** Tell 'connected' before the work begins. */
  readonly announces?: boolean;
}

const given = optionsOf<ConsumerProgramOptions>();
const { groupFile, provider, topic, name, partitions, events, dataBytes, reconnectTimeoutMs = 30_000 } = given;
const driver = await Driver.open({ driver: 'fabric', groupFile, provider, reconnectTimeoutMs });
const handle = await driver.openTopic<{ who: number; n: number }>(topic);
const consumer = handle.consumer({ name, partitions, dataSelector: fullData });
if (given.announces === true) await tell('connected');
/** Next id per partition, and next n per producer and partition. */
const nextId = new Map<number, bigint>();
const nextN = new Map<string, number>();
const wrong: string[] = [];
let seen = 0;
for await (const batch of consumer.batches()) {
  for (const { id, partition, metadata, data } of batch) {
    const where = `partition ${partition}, id ${id}, who ${metadata.who}, n ${metadata.n}`;
    if (id !== (nextId.get(partition) ?? 0n)) wrong.push(`id out of order: ${where}`);
    nextId.set(partition, id + 1n);
    const key = `${metadata.who}/${partition}`;
    if (metadata.n !== (nextN.get(key) ?? partition)) wrong.push(`order broken: ${where}`);
    nextN.set(key, metadata.n + handle.partitions);
    if (data.byteLength !== dataBytes || !isPattern(metadata.n, data)) wrong.push(`bytes differ: ${where}`);
    seen += 1;
  }
  if (seen >= events || wrong.length > 0) break;
}
await driver.close();
await tell({ seen, wrong: wrong.slice(0, 10) });
process.disconnect();
