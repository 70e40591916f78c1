/** Named pipes and topics, with real pipes: what is written is stored, what is stored is read, whoever comes and goes. */
import assert from 'node:assert/strict';
import { closeSync, existsSync, openSync, writeSync } from 'node:fs';
import { stat, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { type TestContext, test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { runFifoDaemon } from '../../lib/fifo/daemon.js';
import { makePipe, openForWriting } from '../../lib/fifo/pipe-file.js';
import { PipeReader } from '../../lib/fifo/pipe-reader.js';
import { consumerNameOf } from '../../lib/fifo/tap.js';
import { Completion } from '../../lib/future.js';
import { DiasporaError, Driver, type DriverOptions, type TopicHandle, type TopicOptions } from '../../lib/index.js';
import { Reader, shell, until, writeText } from '../support/pipes.js';
import { startServer } from '../support/server-process.js';
import { temporaryDirectory } from '../support/temporary.js';

const watchdog = { timeout: 120_000 };

interface Running {
  readonly told: string[];
  /** Waits for a remark. */
  note(pattern: RegExp): Promise<string>;
  /** Ends the daemon as a signal does. */
  stop(): Promise<void>;
}

/** A daemon on the control file of `directory`, with its pipes beside it, that takes control lines. */
async function startDaemon(
  t: TestContext,
  driver: Driver,
  directory: string,
  lines: readonly string[],
  drainMs = 60_000,
): Promise<Running> {
  const told: string[] = [];
  const ending = new AbortController();
  let isReady = false;
  const running = runFifoDaemon(driver, {
    controlFile: join(directory, 'control'),
    lines: lines.map((line) => `${directory}/${line}`),
    drainMs,
    stop: ending.signal,
    onReady: () => {
      isReady = true;
    },
    onNote: (subject, text) => told.push(`${subject}: ${text}`),
    onError: (subject, error) =>
      told.push(`${subject}: ${(error as { code?: string }).code} ${(error as Error).message}`),
  });
  const stop = (): Promise<void> => {
    ending.abort();
    return running;
  };
  t.after(() => stop().catch(() => undefined));
  await until(() => isReady || undefined);
  return { told, note: (pattern) => until(() => told.find((text) => pattern.test(text))), stop };
}

async function openTopic(
  t: TestContext,
  options: DriverOptions = { data: false },
  topicOptions: TopicOptions<unknown> = {},
): Promise<{ driver: Driver; topic: TopicHandle }> {
  const driver = await Driver.open(options);
  t.after(() => driver.destroy());
  await driver.createTopic('notes', topicOptions);
  return { driver, topic: await driver.openTopic('notes') };
}

async function count(topic: TopicHandle): Promise<number> {
  const { partitions } = await topic.describe();
  return partitions.reduce((sum, { nextId }) => sum + Number(nextId), 0);
}

async function allOf(topic: TopicHandle): Promise<unknown[]> {
  const consumer = topic.consumer({ name: 'check', from: 'beginning' });
  const found: unknown[] = [];
  await consumer.process(({ metadata }) => found.push(metadata), { maxEvents: await count(topic) });
  await consumer.close();
  return found;
}

async function pushAll(topic: TopicHandle, events: Iterable<unknown>): Promise<void> {
  const producer = topic.producer();
  for (const event of events) producer.push(event);
  await producer.close();
}

function range(from: number, to: number): number[] {
  return Array.from({ length: to - from }, (_, index) => from + index);
}

test(
  'writers come and go: every line is an event, and what the last one left without an end too',
  watchdog,
  async (t) => {
    const directory = await temporaryDirectory(t);
    const { driver, topic } = await openTopic(t);
    await startDaemon(t, driver, directory, ['in -> notes']);
    const pipe = join(directory, 'in');
    await writeText(pipe, 'one\ntw');
    await until(async () => (await count(topic)) === 2 || undefined);
    await writeText(pipe, 'say "three"\n\n');
    await writeText(pipe, 'fünf');
    await until(async () => (await count(topic)) === 5 || undefined);
    // While one writer stays, a line may come from several.
    const writer = openForWriting(pipe) as number;
    await writeText(pipe, 'si');
    await writeText(pipe, 'x\n');
    await until(async () => (await count(topic)) === 6 || undefined);
    closeSync(writer);
    assert.deepEqual(await allOf(topic), ['one', 'tw', 'say "three"', '', 'fünf', 'six']);
  },
);

test(
  'several writers at once, and a stop while they write: each line is there once, in the order of its writer',
  watchdog,
  async (t) => {
    const directory = await temporaryDirectory(t);
    const { driver, topic } = await openTopic(t);
    const daemon = await startDaemon(t, driver, directory, ['in -> notes (format=json)']);
    const script = 'i=0; while [ $i -lt 2000 ]; do echo "[$2,$i]"; i=$((i+1)); done > "$1"';
    const writing = Promise.all(range(0, 3).map((who) => shell(script, join(directory, 'in'), `${who}`)));
    // All have it open, so none is turned away.
    await until(
      async () => new Set((await allOf(topic)).map((event) => (event as number[])[0])).size === 3 || undefined,
    );
    await Promise.all([writing, daemon.stop()]);
    const next = [0, 0, 0];
    for (const event of await allOf(topic)) {
      const [who, n] = event as [number, number];
      assert.equal(n, next[who]);
      next[who] = n + 1;
    }
    assert.deepEqual(next, [2000, 2000, 2000]);
  },
);

test(
  'a writer that keeps its pipe open at the end is waited for, then told; what it wrote is stored',
  watchdog,
  async (t) => {
    const directory = await temporaryDirectory(t);
    const { driver, topic } = await openTopic(t);
    const daemon = await startDaemon(t, driver, directory, ['in -> notes'], 50);
    const writer = openSync(join(directory, 'in'), 'w');
    writeSync(writer, 'one\ntwo');
    await daemon.stop();
    assert.deepEqual(await allOf(topic), ['one', 'two']);
    assert.match(daemon.told.join('\n'), /a writer still has the pipe open/);
    assert.throws(() => writeSync(writer, 'three\n'), { code: 'EPIPE' });
    closeSync(writer);
  },
);

test('a line that can be no event is told of and left out; the others are stored', watchdog, async (t) => {
  const directory = await temporaryDirectory(t);
  const schema = { type: 'object', required: ['n'] };
  const { driver, topic } = await openTopic(t, { data: false }, { validator: { type: 'schema', schema } });
  const daemon = await startDaemon(t, driver, directory, ['in -> notes (format=json, batch_size=2)']);
  const tooLong = `{"n":"${'x'.repeat(2 ** 20)}"}`;
  await writeText(join(directory, 'in'), `{"n":1}\n{"n":\n\n{"m":1}\n${tooLong}\n[2]\n{"n":2}\n`);
  await daemon.note(/line 6 was left out/);
  await daemon.stop();
  assert.deepEqual(await allOf(topic), [{ n: 1 }, { n: 2 }]);
  const told = daemon.told.join('\n');
  assert.match(told, /line 2 was left out: .*not JSON/);
  assert.match(told, /line 4 was left out: .*n/);
  assert.match(told, /line 5 is longer than/);
  assert.match(told, /2 events$/m);
});

test('a writer that came and went before it was looked is heard out', watchdog, async (t) => {
  const pipe = join(await temporaryDirectory(t), 'in');
  await makePipe(pipe);
  const reader = new PipeReader(pipe);
  await writeText(pipe, 'one\ntwo');
  const ending = new AbortController();
  const failed = new AbortController().signal;
  const texts: unknown[] = [];
  for await (const lines of reader.runs({ stop: ending.signal, drainMs: 0, failed })) {
    texts.push(...lines.map(({ text }) => text));
    if (texts.length === 2) ending.abort();
  }
  assert.deepEqual(texts, ['one', 'two']);
});

test('a topic that takes no more stops the reading of the pipe, and then its writer', watchdog, async (t) => {
  const pipe = join(await temporaryDirectory(t), 'in');
  await makePipe(pipe);
  const ending = new AbortController();
  const limits = { stop: ending.signal, drainMs: 60_000, failed: new AbortController().signal };
  const runs = new PipeReader(pipe).runs(limits);
  const total = 200_000;
  const text = range(0, total).join('\n');
  let isWritten = false;
  const first = runs.next();
  const writing = writeText(pipe, `${text}\n`).then(() => {
    isWritten = true;
  });
  let next = 0;
  const check = (lines: readonly { text: string | undefined }[]): void => {
    for (const line of lines) assert.equal(line.text, `${next++}`);
  };
  check((await first).value as { text: string }[]);
  // Nobody asks for more.
  await sleep(50);
  assert.equal(isWritten, false);
  ending.abort();
  for await (const lines of runs) check(lines);
  await writing;
  assert.equal(next, total);
});

test('a server that goes and comes back: the lines wait and none is lost', watchdog, async (t) => {
  const directory = await temporaryDirectory(t);
  const groupFile = join(directory, 'group.json');
  const serving = { data: join(directory, 'store'), groupFile, provider: 'net,tcp' };
  const server = await startServer(t, serving);
  const { driver, topic } = await openTopic(t, { driver: 'fabric', groupFile, reconnectTimeoutMs: 100 });
  const daemon = await startDaemon(t, driver, directory, ['in -> notes']);
  await writeText(join(directory, 'in'), 'one\n');
  await until(async () => (await count(topic)) === 1 || undefined);
  await server.kill();
  await writeText(join(directory, 'in'), 'two\nthree\n');
  await daemon.note(/2 lines were not stored: .*trying again/);
  await startServer(t, serving);
  await until(async () => ((await count(topic).catch(() => 0)) >= 3 ? true : undefined));
  await writeText(join(directory, 'in'), 'four\n');
  await daemon.stop();
  assert.deepEqual([...new Set(await allOf(topic))], ['one', 'two', 'three', 'four']);
});

test('lines behind one whose storing fails for a while wait for it', watchdog, async (t) => {
  const directory = await temporaryDirectory(t);
  const { driver, topic } = await openTopic(t);
  const openTopicOf = driver.openTopic.bind(driver) as (name: string) => Promise<TopicHandle>;
  t.mock.method(driver, 'openTopic', async (name: string) => {
    const opened = await openTopicOf(name);
    const producer = opened.producer();
    const push = producer.push.bind(producer);
    // The first line fails twice, as it does when a server is gone for too long.
    let failures = 2;
    t.mock.method(producer, 'push', (metadata: string) => {
      if (metadata !== '"one"' || failures === 0) return push(metadata);
      failures -= 1;
      return Completion.failed(new DiasporaError('CONNECTION_LOST', 'gone'));
    });
    t.mock.method(opened, 'producer', () => producer);
    return opened;
  });
  const daemon = await startDaemon(t, driver, directory, ['in -> notes']);
  const pipe = join(directory, 'in');
  await writeText(pipe, 'one\ntwo\n');
  await daemon.note(/1 line was not stored: gone; trying again/);
  await writeText(pipe, 'three\nfour\n');
  await until(async () => (await count(topic)) === 4 || undefined);
  await daemon.stop();
  assert.deepEqual(await allOf(topic), ['one', 'two', 'three', 'four']);
});

test('a topic that is deleted ends its pipe only, with its error and what was lost', watchdog, async (t) => {
  const directory = await temporaryDirectory(t);
  const { driver } = await openTopic(t);
  await driver.createTopic('others');
  const daemon = await startDaemon(t, driver, directory, ['in -> notes', 'other -> others']);
  await driver.deleteTopic('notes');
  await writeText(join(directory, 'in'), 'one\n');
  await daemon.note(/in -> notes: TOPIC_(DELETED|NOT_FOUND)/);
  assert.match(daemon.told.join('\n'), /1 of the lines that were read are lost/);
  await writeText(join(directory, 'other'), 'two\n');
  await daemon.stop();
  assert.deepEqual(await allOf(await driver.openTopic('others')), ['two']);
});

test(
  'a reader that goes away in the middle of a line: the next one gets that line whole, and all behind it',
  watchdog,
  async (t) => {
    const directory = await temporaryDirectory(t);
    const { driver, topic } = await openTopic(t);
    const pipe = join(directory, 'out');
    await startDaemon(t, driver, directory, ['out <- notes']);
    await pushAll(
      topic,
      range(0, 3).map((n) => ({ n, text: 'x'.repeat(100) })),
    );
    const first = new Reader(pipe);
    assert.match(await until(() => first.read(150)), /^\{"n":0.*\}\n\{"n":1,"text":"x+$/);
    first.close();
    await until(async () => (await topic.consumers())[0]?.positions[0]?.nextId === 1n || undefined);
    // Longer than what is written at once, and than what the pipe holds.
    await pushAll(topic, [{ n: 3, text: 'y'.repeat(200_000) }, { n: 4 }]);
    const second = new Reader(pipe);
    const numbers = (await second.lines(4)).map((line) => (JSON.parse(line) as { n: number }).n);
    assert.deepEqual(numbers, [1, 2, 3, 4]);
    second.close();
  },
);

test('what no reader has taken comes again after a stop, and nothing else', watchdog, async (t) => {
  const directory = await temporaryDirectory(t);
  const { driver, topic } = await openTopic(t, { data: false }, { partitions: 2 });
  const pipe = join(directory, 'out');
  await pushAll(topic, range(0, 10));
  const seen: number[] = [];
  for (const take of [3, 0, 4]) {
    const daemon = await startDaemon(t, driver, directory, ['out <- notes']);
    const reader = new Reader(pipe);
    for (let left = take; left > 0; left -= 1) seen.push(Number(await until(() => reader.read(2))));
    // The daemon may have written more: that is still in the pipe.
    reader.close();
    await daemon.stop();
    const [consumer] = await topic.consumers(consumerNameOf(pipe));
    assert.equal(Number(consumer?.lag ?? 10n), 10 - seen.length);
  }
  const daemon = await startDaemon(t, driver, directory, ['out <- notes']);
  const reader = new Reader(pipe);
  seen.push(...(await reader.lines(3)).map(Number));
  await daemon.stop();
  assert.deepEqual(
    seen.toSorted((a, b) => a - b),
    range(0, 10),
  );
  const [consumer] = await topic.consumers(consumerNameOf(pipe));
  assert.equal(consumer?.lag, 0n);
  reader.close();
});

test('a complete topic is read to its end by one consumer, which then waits', watchdog, async (t) => {
  const directory = await temporaryDirectory(t);
  const { driver, topic } = await openTopic(t);
  await pushAll(topic, range(0, 5));
  await driver.completeTopic('notes');
  let consumers = 0;
  const openTopicOf = driver.openTopic.bind(driver) as (name: string) => Promise<TopicHandle>;
  t.mock.method(driver, 'openTopic', async (name: string) => {
    const opened = await openTopicOf(name);
    const consumerOf = opened.consumer.bind(opened) as TopicHandle['consumer'];
    t.mock.method(opened, 'consumer', (options: { name: string }) => {
      consumers += 1;
      return consumerOf(options);
    });
    return opened;
  });
  const daemon = await startDaemon(t, driver, directory, ['out <- notes']);
  const pipe = join(directory, 'out');
  const reader = new Reader(pipe);
  assert.deepEqual((await reader.lines(5)).map(Number), range(0, 5));
  await sleep(200);
  await daemon.stop();
  assert.equal(consumers, 1);
  assert.equal((await topic.consumers(consumerNameOf(pipe)))[0]?.lag, 0n);
  reader.close();
});

test('a reader that does not read stops the consumption; what is in its pipe is still its own', watchdog, async (t) => {
  const directory = await temporaryDirectory(t);
  const { driver, topic } = await openTopic(t);
  const events = 3000;
  await pushAll(
    topic,
    range(0, events).map((n) => ({ n, text: 'x'.repeat(1000) })),
  );
  const daemon = await startDaemon(t, driver, directory, ['out <- notes (name=lazy)'], 50);
  const reader = new Reader(join(directory, 'out'));
  await sleep(100);
  await daemon.stop();
  const read = (reader.read() ?? '').split('\n').length - 1;
  assert.ok(read > 0 && read < 1100, `${read}`);
  const [consumer] = await topic.consumers('lazy');
  assert.equal(consumer?.positions[0]?.nextId, BigInt(read));
  reader.close();
  const again = await startDaemon(t, driver, directory, ['out <- notes (name=lazy)']);
  const other = new Reader(join(directory, 'out'));
  const numbers = (await other.lines(events - read)).map((line) => (JSON.parse(line) as { n: number }).n);
  assert.deepEqual(numbers, range(read, events));
  await again.stop();
  other.close();
});

test('formats: raw in is text, raw out gives it back; JSON stays on one line', watchdog, async (t) => {
  const directory = await temporaryDirectory(t);
  const { driver, topic } = await openTopic(t);
  await startDaemon(t, driver, directory, ['raw <- notes (format=raw)', 'json <- notes']);
  await pushAll(topic, ['{ "n":\n 1.50 }', '"te\\"xt"', '"two\\nlines"']);
  const raw = new Reader(join(directory, 'raw'));
  const json = new Reader(join(directory, 'json'));
  assert.deepEqual(await raw.lines(3), ['{ "n":  1.50 }', 'te"xt', '"two\\nlines"']);
  assert.deepEqual(await json.lines(3), ['{ "n":  1.50 }', '"te\\"xt"', '"two\\nlines"']);
  raw.close();
  json.close();
  const packed = await openTopic(t, { data: false }, { serializer: 'msgpack' });
  const elsewhere = await temporaryDirectory(t);
  await startDaemon(t, packed.driver, elsewhere, ['out <- notes']);
  await pushAll(packed.topic, [{ n: 1 }]);
  const reader = new Reader(join(elsewhere, 'out'));
  assert.deepEqual(await reader.lines(1), ['{"n":1}']);
  reader.close();
});

test('lines of the control file attach pipes; one that is wrong is answered and ends nothing', watchdog, async (t) => {
  const directory = await temporaryDirectory(t);
  const { driver, topic } = await openTopic(t);
  const daemon = await startDaemon(t, driver, directory, []);
  const control = join(directory, 'control');
  await writeFile(join(directory, 'file'), '');
  const wrong = ['nonsense', `${directory}/in -> nowhere`, `${directory}/file -> notes`, `${directory}/no/in -> notes`];
  await writeText(control, `${wrong.join('\n')}\n${directory}/in -> notes\n${directory}/in <- notes\n`);
  await daemon.note(/attached already/);
  const told = daemon.told.join('\n');
  assert.match(told, /^nonsense: INVALID_ARGUMENT .*PATH -> TOPIC/m);
  assert.match(told, /in -> nowhere: TOPIC_NOT_FOUND/);
  assert.match(told, /file -> notes: INVALID_ARGUMENT .*not a named pipe/);
  assert.match(told, /no\/in -> notes: NOT_WRITABLE/);
  assert.match(told, /in -> notes: attached$/m);
  await writeText(join(directory, 'in'), 'one\n');
  await daemon.stop();
  assert.deepEqual(await allOf(topic), ['one']);
  assert.equal(existsSync(control), false);
  assert.ok((await stat(join(directory, 'in'))).isFIFO(), 'a writer that comes now waits for the next daemon');
});

test('many pipes at once: none is starved, and nobody warns of listeners', watchdog, async (t) => {
  const directory = await temporaryDirectory(t);
  const { driver, topic } = await openTopic(t);
  const warnings: Error[] = [];
  const listener = (warning: Error): void => void warnings.push(warning);
  process.on('warning', listener);
  t.after(() => process.off('warning', listener));
  const pipes = 20;
  const lines = range(0, pipes).flatMap((n) => [`in${n} -> notes (format=json)`, `out${n} <- notes`]);
  const daemon = await startDaemon(t, driver, directory, lines);
  await Promise.all(range(0, pipes).map((n) => writeText(join(directory, `in${n}`), `${n}\n`)));
  for (const n of range(0, pipes)) {
    const reader = new Reader(join(directory, `out${n}`));
    const numbers = (await reader.lines(pipes)).map(Number);
    assert.deepEqual(
      numbers.sort((a, b) => a - b),
      range(0, pipes),
    );
    reader.close();
  }
  await daemon.stop();
  assert.equal(await count(topic), pipes);
  assert.deepEqual(warnings, []);
});
