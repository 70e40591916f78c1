/** What the compiler must accept and refuse: this file is a test by being compiled; the run only shows that it loads. */
import { test } from 'node:test';
import { z } from 'zod';
import {
  BatchSize,
  type Consumer,
  type Driver,
  type Event,
  type EventId,
  type Future,
  fullData,
  Ordering,
  type Producer,
} from '../../lib/index.js';

type Equal<A, B> = (<X>() => X extends A ? 1 : 2) extends <X>() => X extends B ? 1 : 2 ? true : false;
function expectType<_T extends true>(): void {}

interface Collision {
  readonly energy: number;
}

export async function typed(driver: Driver): Promise<void> {
  const topic = await driver.openTopic<Collision>('t');
  const producer = topic.producer({ batchSize: BatchSize.of(3), ordering: Ordering.Loose });
  expectType<Equal<typeof producer, Producer<Collision>>>();
  const future = producer.push({ energy: 1 });
  expectType<Equal<typeof future, Future<EventId>>>();
  producer.push('{"energy": 1}', new Float64Array(3), { partition: 0 });
  producer.push({ energy: 1 }, [new Uint8Array(1), new ArrayBuffer(2), new SharedArrayBuffer(3)]);
  // @ts-expect-error: not a number
  producer.push({ energy: 'high' });
  // @ts-expect-error: no such field
  producer.push({ energy: 1, mass: 2 });
  // @ts-expect-error: data is memory, not text
  producer.push({ energy: 1 }, 'data');
  // @ts-expect-error: a misspelled option
  topic.producer({ batchsize: 3 });
  // @ts-expect-error: a consumer has a name
  topic.consumer({});

  const plain = topic.consumer({ name: 'c' });
  expectType<Equal<typeof plain, Consumer<Collision, undefined>>>();
  const full = topic.consumer({ name: 'c', dataSelector: fullData });
  expectType<Equal<typeof full, Consumer<Collision, Buffer>>>();
  const some = topic.consumer({ name: 'c', dataSelector: ({ energy }, whole) => whole.makeSubView(0, energy) });
  expectType<Equal<typeof some, Consumer<Collision, Buffer>>>();
  const own = topic.consumer({
    name: 'c',
    dataSelector: fullData,
    dataAllocator: (_, { size }) => new Float32Array(size / 4),
  });
  const event = await own.pull();
  expectType<Equal<(typeof event)['data'], Float32Array<ArrayBuffer>>>();
  expectType<Equal<(typeof event)['metadata'], Collision>>();
  for await (const each of full) expectType<Equal<typeof each, Event<Collision, Buffer>>>();
}

export async function inferred(driver: Driver): Promise<void> {
  const schema = z.object({ energy: z.number(), unit: z.string().default('GeV') });
  const topic = await driver.openTopic('t', { schema });
  topic.producer().push({ energy: 1 });
  // @ts-expect-error: energy is missing
  topic.producer().push({ unit: 'eV' });
  const { metadata } = await topic.consumer({ name: 'c' }).pull();
  expectType<Equal<typeof metadata, { energy: number; unit: string }>>();
}

export async function jsonSchemaTyped(driver: Driver): Promise<void> {
  const topic = await driver.openTopic('t', {
    schema: {
      type: 'object',
      properties: {
        energy: { type: 'integer', minimum: 0 },
        tags: { type: 'array', items: { type: ['string', 'null'] } },
        kind: { enum: ['signal', 'noise'] },
        beam: { type: 'object', properties: { on: { type: 'boolean' } }, required: ['on'] },
        either: { anyOf: [{ type: 'number' }, { const: 'none' }] },
      },
      required: ['energy', 'kind'],
    },
  });
  const producer = topic.producer();
  producer.push({ energy: 1, kind: 'signal', tags: ['a', null], beam: { on: true }, either: 'none' });
  // @ts-expect-error: energy is missing
  producer.push({ kind: 'noise' });
  // @ts-expect-error: no such kind
  producer.push({ energy: 1, kind: 'other' });
  // @ts-expect-error: not a boolean
  producer.push({ energy: 1, kind: 'noise', beam: { on: 1 } });
  const { metadata } = await topic.consumer({ name: 'c' }).pull();
  expectType<Equal<typeof metadata.energy, number>>();
  expectType<Equal<typeof metadata.kind, 'signal' | 'noise'>>();
  expectType<Equal<typeof metadata.tags, (string | null)[] | undefined>>();
  expectType<Equal<typeof metadata.either, number | 'none' | undefined>>();
  // What is given explicitly counts, with any schema.
  const schema: Readonly<Record<string, unknown>> = { type: 'object' };
  const explicit = await driver.openTopic<Collision>('t', { schema });
  const explicitProducer = explicit.producer();
  expectType<Equal<typeof explicitProducer, Producer<Collision>>>();
}

test('the types of metadata and data follow from topic, schema and options', () => undefined);
