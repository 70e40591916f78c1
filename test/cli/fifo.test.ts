/** The fifo daemon as a process: signals, kill -9, and what a user sees of it. */
import assert from 'node:assert/strict';
import type { ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { failInOneLine, linesOf, place, run, start, succeed } from '../support/command-line.js';
import { Reader, shell, until, writeText } from '../support/pipes.js';

const watchdog = { timeout: 120_000 };

/** Started and ready. */
async function startFifo(where: readonly string[], ...lines: string[]): Promise<ChildProcess & { told: string }> {
  const child = Object.assign(start(['fifo', '--control-file', 'control', ...where, ...lines]), { told: '' });
  child.stderr!.setEncoding('utf8').on('data', (text: string) => {
    child.told += text;
  });
  const [ready] = (await once(child.stdout!, 'data')) as [Buffer];
  assert.equal(`${ready}`, 'taking control lines from control\n');
  return child;
}

async function end(child: ChildProcess, signal: NodeJS.Signals): Promise<unknown> {
  child.kill(signal);
  return (await once(child, 'close'))[0];
}

test(
  'SIGTERM and SIGINT: what was written is stored, what was read is acknowledged, the rest comes again',
  watchdog,
  async () => {
    const where = ['--data', 'fifo'];
    await succeed(['topic', 'create', 'notes', '--durability', 'os', ...where]);
    const feeding = await startFifo(where);
    await writeText(join(place, 'control'), 'in -> notes (format=json)\n');
    await until(() => existsSync(join(place, 'in')) || undefined);
    await shell('seq 0 19998 > "$1"; printf 19999 > "$1"', join(place, 'in'));
    assert.equal(await end(feeding, 'SIGTERM'), 0, feeding.told);
    assert.match(feeding.told, /in -> notes: 20000 events\n$/);
    assert.equal(existsSync(join(place, 'control')), false);
    assert.ok((await succeed(['topic', 'describe', 'notes', ...where])).some((line) => line.includes('20000 events')));

    const seen: string[] = [];
    for (const part of [7000, 20_000]) {
      const tapping = await startFifo(where, 'out <- notes (name=reader)');
      const reader = new Reader(join(place, 'out'));
      while (seen.length < part) seen.push(...(await reader.lines(1)));
      reader.close();
      assert.equal(await end(tapping, 'SIGINT'), 0, tapping.told);
      // Lines that it had read only a part of come whole.
      const { stdout } = await run(['consumer', 'list', 'notes', '--json', ...where]);
      const [{ lag }] = JSON.parse(stdout) as [{ lag: number }];
      assert.equal(lag, 20_000 - seen.length);
    }
  },
);

test('kill -9: the next run goes on where it is known to have been read', watchdog, async () => {
  const where = ['--data', 'killed'];
  await succeed(['topic', 'create', 'notes', '--durability', 'os', ...where]);
  await succeed(['produce', 'notes', ...where], Array.from({ length: 3000 }, (_, n) => `${n}\n`).join(''));
  const seen: number[] = [];
  for (const signal of ['SIGKILL', 'SIGTERM'] as const) {
    const tapping = await startFifo(where, 'out <- notes');
    const reader = new Reader(join(place, 'out'));
    const first = seen.length === 0;
    let text = '';
    while (first ? text.length < 2000 : !text.includes('2999\n')) text += await until(() => reader.read(1000));
    seen.push(...linesOf(text.slice(0, text.lastIndexOf('\n'))).map(Number));
    reader.close();
    await end(tapping, signal);
  }
  assert.deepEqual(
    [...new Set(seen)].sort((a, b) => a - b),
    Array.from({ length: 3000 }, (_, n) => n),
  );
});

test('a control file that is no pipe, or no place for one, is told of', async () => {
  const where = ['--data', 'none'];
  await failInOneLine(['fifo', '--control-file', '.', ...where], /not a named pipe \[INVALID_ARGUMENT\]/);
  await failInOneLine(['fifo', '--control-file', 'no/where', ...where], /no\/where cannot be made.*\[NOT_WRITABLE\]/);
  assert.equal((await run(['fifo', ...where])).code, 2);
});
