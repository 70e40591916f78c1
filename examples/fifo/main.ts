/**
 * Producing and consuming without the library: a program that knows nothing but files writes lines to one named pipe and
 * reads events from another. `diaspora fifo` stands between them and the topic.
 *
 *     node dist/examples/fifo/main.js
 */
import { type ChildProcess, execFile, spawn } from 'node:child_process';
import { once } from 'node:events';
import { createWriteStream, existsSync } from 'node:fs';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';

const diaspora = fileURLToPath(new URL('../../lib/cli/main.js', import.meta.url));
const directory = await mkdtemp(join(tmpdir(), 'diaspora-fifo-'));

function say(line: string): void {
  process.stdout.write(`${line}\n`);
}

function start(...args: string[]): ChildProcess {
  const command = [diaspora, ...args, '--data', 'store'];
  return spawn(process.execPath, command, { cwd: directory, stdio: ['ignore', 'pipe', 'inherit'] });
}

async function end(child: ChildProcess): Promise<void> {
  const closed = once(child, 'close');
  child.kill('SIGTERM');
  await closed;
}

/** A program that knows nothing of events: each line that is written to the pipe is one. */
async function writeReadings(from: number, to: number): Promise<void> {
  const pipe = createWriteStream(join(directory, 'readings'));
  for (let n = from; n < to; n += 1) pipe.write(`{"reading":${n}}\n`);
  pipe.end();
  await once(pipe, 'close');
}

/** Another one: `head` reads so many lines and goes. What a reader takes out of the pipe is its own. */
async function readEvents(count: number): Promise<string[]> {
  const { stdout } = await promisify(execFile)('head', ['-n', `${count}`, join(directory, 'events')]);
  return stdout.trim().split('\n');
}

try {
  await once(start('topic', 'create', 'readings'), 'close');
  const daemon = start('fifo', '--control-file', 'control', `${directory}/events <- readings (name=display)`);
  await once(daemon.stdout as NodeJS.ReadableStream, 'data'); // it takes control lines
  await writeFile(join(directory, 'control'), 'readings -> readings (format=json, batch_size=16)\n');
  const events = readEvents(100);
  while (!existsSync(join(directory, 'readings'))) await sleep(10); // else the writer would make a file
  await writeReadings(0, 50); // writers come and go
  await writeReadings(50, 100);
  const lines = await events;
  say(`read ${lines.length} events, the first is ${lines[0]}, the last ${lines.at(-1)}`);
  await writeReadings(100, 200);
  await end(daemon); // what was written is stored first

  const next = start('fifo', '--control-file', 'control', `${directory}/events <- readings (name=display)`);
  const rest = await readEvents(100);
  say(`after a restart the first is ${rest[0]}, the last ${rest.at(-1)}`);
  await end(next);
} finally {
  await rm(directory, { recursive: true, force: true });
}
