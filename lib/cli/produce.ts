/** `diaspora produce`: lines of JSON from stdin, or files, as events. */
import { readFile } from 'node:fs/promises';
import { basename } from 'node:path';
import { createInterface } from 'node:readline';
import type { Readable } from 'node:stream';
import { Command } from 'commander';
import { DiasporaError } from '../errors.js';
import type { Producer } from '../producer.js';
import { pushWhenReady } from '../push-when-ready.js';
import { parseCount } from './arguments.js';
import { addConnectionOptions, type ConnectionOptions, withDriver } from './connection.js';
import { note, untilInterrupted } from './terminal.js';

interface ProduceOptions extends ConnectionOptions {
  readonly partition?: number;
  readonly quiet: boolean;
}

interface Source {
  /** Which line or file, for messages. */
  readonly name: string;
  readonly metadata: string;
  readonly data?: Uint8Array;
}

/** Ends when `stop` aborts, behind the lines that were read by then. */
async function* linesOf(input: Readable, stop: AbortSignal): AsyncGenerator<Source> {
  const lines = createInterface({ input, crlfDelay: Number.POSITIVE_INFINITY });
  const end = (): void => {
    // Destroying the input alone would leave the loop below waiting for ever.
    lines.close();
    input.destroy();
  };
  if (stop.aborted) end();
  else stop.addEventListener('abort', end, { once: true });
  let number = 0;
  for await (const line of lines) {
    number++;
    if (line.trim() === '') continue;
    try {
      JSON.parse(line);
    } catch (cause) {
      throw new DiasporaError('INVALID_METADATA', `line ${number} is not JSON: ${(cause as Error).message}`, { cause });
    }
    yield { name: `line ${number}`, metadata: line };
  }
}

async function* filesOf(paths: readonly string[], stop: AbortSignal): AsyncGenerator<Source> {
  for (const path of paths) {
    if (stop.aborted) return;
    const data = await readFile(path);
    yield { name: path, metadata: JSON.stringify({ name: basename(path), size: data.byteLength }), data };
  }
}

/** `error` with a remark around its message; what programs look at stays. */
function withRemark(error: unknown, remark: (message: string) => string): Error {
  if (error instanceof DiasporaError) {
    return new DiasporaError(error.code, remark(error.message), { ...error, cause: error });
  }
  return new Error(remark(error instanceof Error ? error.message : String(error)), { cause: error });
}

/**
 * Pushes everything, until something cannot be read or is refused: that aborts `failed`, with the reason. Waits for room
 * where the driver is full. Returns how many events were stored, when nothing is pending; never rejects.
 */
async function pushAll(
  producer: Producer<unknown>,
  sources: AsyncIterable<Source>,
  partition: number | undefined,
  failed: AbortController,
): Promise<number> {
  let count = 0;
  const settling = new Set<Promise<void>>();
  try {
    for await (const { name, metadata, data } of sources) {
      if (failed.signal.aborted) break;
      const options = partition === undefined ? undefined : { partition };
      const { stored } = await pushWhenReady(producer, metadata, data, options);
      const settled = stored.then(
        () => {
          count += 1;
        },
        (error) => failed.abort(withRemark(error, (message) => `${name} was not stored: ${message}`)),
      );
      settling.add(settled);
      void settled.then(() => settling.delete(settled));
      // What is refused at once stops what is behind it.
      if (stored.completed) await settled;
    }
  } catch (error) {
    failed.abort(error);
  }
  const [closed] = await Promise.allSettled([producer.close()]);
  await Promise.all(settling);
  // Told by the events that were in the batch, with their names; the first reason stays.
  if (closed.status === 'rejected') failed.abort(closed.reason);
  return count;
}

async function produce(topicName: string, files: string[], options: ProduceOptions): Promise<void> {
  await withDriver(options, async (driver) => {
    const topic = await driver.openTopic(topicName);
    const producer = topic.producer({ name: 'diaspora-cli' });
    await untilInterrupted(async (interrupted) => {
      const failed = new AbortController();
      const stop = AbortSignal.any([interrupted, failed.signal]);
      if (files.length === 0 && process.stdin.isTTY) note('reading lines of JSON; Ctrl-D ends');
      const sources = files.length === 0 ? linesOf(process.stdin, stop) : filesOf(files, stop);
      const count = await pushAll(producer, sources, options.partition, failed);
      const told = `stored ${count} event${count === 1 ? '' : 's'} in ${topicName}`;
      if (failed.signal.aborted) throw withRemark(failed.signal.reason, (message) => `${message}; ${told}`);
      if (!options.quiet) note(told);
    });
  });
}

export function produceCommand(): Command {
  return addConnectionOptions(new Command('produce'))
    .description(
      'Store events: each line of JSON on stdin as metadata, or each FILE as data with { name, size }. Ends with the first ' +
        'that is refused, and says which, and how many were stored.',
    )
    .argument('<topic>')
    .argument('[files...]', 'files to store; without any, stdin is read')
    .option('--partition <n>', 'store everything in this partition', parseCount)
    .option('--quiet', 'say nothing at the end', false)
    .addHelpText(
      'after',
      `
Examples:
  $ echo '{"energy": 42}' | diaspora produce collisions --group-file group.json
  $ diaspora produce scans projections/*.tif --server 127.0.0.1:7000
  $ tail -f readings.jsonl | diaspora produce readings --data ./store`,
    )
    .action(produce);
}
