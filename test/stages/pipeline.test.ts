/** Stages that are stored with a topic: every driver that opens it applies the same, over a real server. */
import assert from 'node:assert/strict';
import { mkdir, symlink, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { type TestContext, test } from 'node:test';
import { Driver, type StageOptions, type TopicHandle } from '../../lib/index.js';
import { temporaryDirectory } from '../support/temporary.js';

interface Place {
  readonly directory: string;
  readonly modules: string;
  /** Opens the topic with another driver than the one that created it. */
  open<T = unknown>(modules?: string): Promise<TopicHandle<T>>;
  create(stages: StageOptions<never>, partitions?: number): Promise<void>;
}

async function place(t: TestContext): Promise<Place> {
  const directory = await temporaryDirectory(t);
  const data = join(directory, 'data');
  const modules = join(directory, 'modules');
  await mkdir(modules);
  const drivers: Driver[] = [];
  t.after(() => Promise.all(drivers.map((driver) => driver.destroy())));
  const driver = async (options: object): Promise<Driver> => {
    drivers.push(await Driver.open({ data, ...options }));
    return drivers.at(-1) as Driver;
  };
  return {
    directory,
    modules,
    open: async <T>(allowed?: string) =>
      (await driver(allowed === undefined ? {} : { modules: allowed })).openTopic<T>('t'),
    create: async (stages, partitions = 1) => (await driver({ modules })).createTopic('t', { ...stages, partitions }),
  };
}

/** Pushes each; gives what came back, with the partition, and the bytes that each took. */
async function roundTrip(topic: TopicHandle, values: readonly unknown[]): Promise<[number, unknown, number][]> {
  const producer = topic.producer();
  for (const value of values) await producer.push(value);
  await producer.close();
  const consumer = topic.consumer({ name: 'c' });
  const seen: [number, unknown, number][] = [];
  while (seen.length < values.length) {
    const event = await consumer.pull();
    seen.push([event.partition, event.metadata, event.metadataBytes.length]);
  }
  await consumer.close();
  return seen;
}

const energySchema = {
  type: 'object',
  properties: { energy: { type: 'integer', minimum: 0, maximum: 99 } },
  required: ['energy'],
  additionalProperties: false,
};

test('collisions: a schema validates, energy chooses the bin, an event takes one byte', async (t) => {
  const { create, open } = await place(t);
  await create(
    {
      validator: { type: 'schema', schema: energySchema },
      partitionSelector: { type: 'range', path: 'energy', minimum: 0, maximum: 100 },
      serializer: { type: 'schema', schema: energySchema },
    },
    4,
  );
  const topic = await open<{ energy: number }>();
  assert.deepEqual(topic.serializer, { type: 'schema', schema: energySchema });
  assert.equal(topic.partitionSelector.type, 'range');
  const seen = await roundTrip(topic, [{ energy: 42 }, { energy: 0 }, { energy: 99 }]);
  assert.deepEqual(
    seen.sort(([a], [b]) => a - b),
    [
      [0, { energy: 0 }, 1],
      [1, { energy: 42 }, 1],
      [3, { energy: 99 }, 1],
    ],
  );
  const producer = topic.producer();
  await assert.rejects(Promise.resolve(producer.push({ energy: 100 })), {
    code: 'INVALID_METADATA',
    message: /metadata\/energy must be <= 99 \(maximum\)/,
  });
  // Text goes the same way.
  await producer.push('{"energy": 7}');
  await producer.close();
});

test('schemas of both drafts validate; without $schema the newer, or the older where only that fits', async (t) => {
  const accepts = async (schema: object, value: unknown): Promise<boolean> => {
    const { create, open } = await place(t);
    await create({ validator: { type: 'schema', schema: schema as never } });
    const pushed = (await open()).producer().push(value);
    return Promise.resolve(pushed).then(
      () => true,
      () => false,
    );
  };
  const tuple = [{ type: 'string' }];
  assert.equal(await accepts({ prefixItems: tuple }, [1]), false);
  assert.equal(await accepts({ $schema: 'http://json-schema.org/draft-07/schema#', prefixItems: tuple }, [1]), true);
  assert.equal(await accepts({ items: tuple }, [1]), false);
  assert.equal(await accepts({ items: tuple }, ['a', 1]), true);
  assert.equal(await accepts({ format: 'date-time' }, 'yesterday'), false);
  const { create } = await place(t);
  const wrong = [
    { type: 'no-such-type' },
    { prefixItems: { type: 'string' } },
    { items: [true], unevaluatedProperties: false },
    { $async: true, required: ['x'] },
  ];
  for (const schema of wrong) {
    await assert.rejects(create({ validator: { type: 'schema', schema } }), { code: 'INVALID_ARGUMENT' });
  }
  const huge = { enum: ['x'.repeat(2 ** 20)] };
  await assert.rejects(create({ validator: { type: 'schema', schema: huge } }), { code: 'INVALID_ARGUMENT' });
});

test('an eventbridge pattern lets matching events through', async (t) => {
  const { create, open } = await place(t);
  await create({ validator: { type: 'eventbridge', schema: { detector: [{ prefix: 'pilatus' }], n: [1, 2] } } });
  const producer = (await open()).producer();
  assert.equal(await producer.push({ detector: 'pilatus-2', n: 2 }), 0n);
  await assert.rejects(Promise.resolve(producer.push({ detector: 'eiger', n: 2 })), { code: 'INVALID_METADATA' });
});

test('msgpack and raw: what was pushed comes back', async (t) => {
  const values = [{ a: 1, b: [true, null, 'ä', 1.5, -(2 ** 40)] }, 7, 'text', [], null];
  for (const type of ['msgpack', 'raw', 'json'] as const) {
    const { create, open } = await place(t);
    await create({ serializer: type });
    // A string would be taken for JSON text.
    const seen = await roundTrip(
      await open(),
      values.map((value) => JSON.stringify(value)),
    );
    assert.deepEqual(
      seen.map(([, value]) => value),
      values,
      type,
    );
  }
  const { create, open } = await place(t);
  await create({ serializer: 'raw' });
  const topic = await open();
  // Not even looked at.
  await topic.producer().push('not json');
  const event = await topic.consumer({ name: 'c' }).pull();
  assert.equal(event.metadataText, 'not json');
  assert.throws(() => event.metadata, { code: 'INVALID_METADATA' });
});

const energyModule = `
export const energy_validator = ({ energy_max }) => ({
  validate: ({ energy }) => { if (!(energy <= energy_max)) throw new Error('too much energy: ' + energy); },
});
export const energy_selector = ({ energy_max }) => ({ energy }, { partitions }) =>
  Math.min(Math.floor((energy / energy_max) * partitions), partitions - 1);
export const energy_serializer = () => ({
  binary: true,
  serialize: ({ energy }) => Uint8Array.of(energy),
  deserialize: (bytes) => ({ energy: bytes[0] }),
});
export const refuses = () => { throw new Error('no such option'); };
export const value = 5;
`;

test('stages in modules: applied by every process that allows their directory', async (t) => {
  const { create, open, modules } = await place(t);
  await writeFile(join(modules, 'energy.mjs'), energyModule);
  await create(
    {
      validator: { type: 'energy_validator:./energy.mjs', energy_max: 99 },
      partitionSelector: { type: 'energy_selector:./energy.mjs', energy_max: 99 },
      serializer: { type: 'energy_serializer:./energy.mjs' },
    },
    2,
  );
  const topic = await open<{ energy: number }>(modules);
  assert.deepEqual(await roundTrip(topic, [{ energy: 90 }]), [[1, { energy: 90 }, 1]]);
  await assert.rejects(Promise.resolve(topic.producer().push({ energy: 100 })), {
    code: 'INVALID_METADATA',
    message: /too much energy: 100/,
  });
  // Without the directory: the topic opens, but nobody produces or consumes past its stages.
  const other = await open();
  const denied = { code: 'INVALID_ARGUMENT', message: /no directory is allowed for modules/ };
  assert.throws(() => other.producer(), denied);
  assert.throws(() => other.consumer({ name: 'c' }), denied);
  assert.equal((await other.describe()).partitions.length, 2);
});

test('modules that cannot be used are refused when the topic is created', async (t) => {
  const { create, directory, modules, open } = await place(t);
  await writeFile(join(modules, 'energy.mjs'), energyModule);
  await writeFile(join(modules, 'broken.mjs'), 'export const x = ;');
  await writeFile(join(directory, 'outside.mjs'), energyModule);
  await symlink(join(directory, 'outside.mjs'), join(modules, 'link.mjs'));
  const cases: [string, RegExp][] = [
    ['energy_validator:./none.mjs', /there is no '\.\/none\.mjs'/],
    ['energy_validator:../outside.mjs', /there is no/],
    ['energy_validator:./link.mjs', /there is no/],
    [`energy_validator:${join(directory, 'outside.mjs')}`, /there is no/],
    ['none:./energy.mjs', /does not export a function 'none'/],
    ['value:./energy.mjs', /does not export a function 'value'/],
    ['toString:./energy.mjs', /does not export a function/],
    ['refuses:./energy.mjs', /no such option/],
    ['x:./broken.mjs', /cannot be loaded/],
  ];
  for (const [type, message] of cases) {
    const stage = { type } as { type: `${string}:${string}` };
    await assert.rejects(create({ validator: stage }), { code: 'INVALID_ARGUMENT', message }, type);
  }
  await assert.rejects(create({ serializer: { type: 'energy_selector:./energy.mjs' } }), { code: 'INVALID_ARGUMENT' });
  await assert.rejects(create({ validator: { type: 'unknown' } as never }), { code: 'INVALID_ARGUMENT' });
  await assert.rejects(create({ serializer: 'unknown' as never }), { code: 'INVALID_ARGUMENT' });
  await assert.rejects(create({ partitionSelector: { type: 'range', path: 'a', bounds: [1, 2] } }, 2), {
    code: 'INVALID_ARGUMENT',
    message: /2 bounds need 3 partitions/,
  });
  // What a module does to its configuration is its own.
  await writeFile(join(modules, 'own.mjs'), 'export const x = (c) => { delete c.type; return () => true; };');
  await create({ validator: { type: 'x:./own.mjs' } });
  assert.deepEqual((await open(modules)).validator, { type: 'x:./own.mjs' });
});

test('stages that break their contract refuse that push, and no promise is left behind', async (t) => {
  const rejected: unknown[] = [];
  const note = (error: unknown): void => void rejected.push(error);
  process.on('unhandledRejection', note);
  t.after(() => process.off('unhandledRejection', note));
  const driver = await Driver.open({ data: false });
  t.after(() => driver.destroy());
  const fails = async (): Promise<never> => Promise.reject(new Error('late'));
  const cases: [StageOptions<never>, string][] = [
    [{ partitionSelector: fails as never }, 'INVALID_PARTITION'],
    [{ serializer: { serialize: fails as never, deserialize: String } as never }, 'INVALID_METADATA'],
    [
      { validator: { '~standard': { version: 1, vendor: 'x', validate: () => JSON.parse('{') } } as never },
      'INVALID_METADATA',
    ],
    [{ serializer: 'msgpack' }, 'INVALID_METADATA'],
  ];
  for (const [at, [stages, code]] of cases.entries()) {
    await driver.createTopic(`t${at}`, stages);
    const producer = (await driver.openTopic(`t${at}`)).producer();
    await assert.rejects(Promise.resolve(producer.push('{"__proto__": 1}')), { code });
  }
  await new Promise((resolve) => setImmediate(resolve));
  assert.deepEqual(rejected, []);
});
