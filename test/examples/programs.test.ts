import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { temporaryDirectory } from '../support/temporary.js';

async function linesOf(example: string, ...args: string[]): Promise<string[]> {
  const program = fileURLToPath(new URL(`../../examples/${example}/main.js`, import.meta.url));
  const { stdout } = await promisify(execFile)(process.execPath, [program, ...args]);
  return stdout.trim().split('\n');
}

test('the producer and consumer examples meet in a directory; the consumer goes on behind what it acknowledged', async (t) => {
  const where = ['--data', await temporaryDirectory(t)];
  const stored = (first: number): string[] => [`the first event has id ${first}`, 'stored 100 events in my_topic'];
  assert.deepEqual(await linesOf('producer', ...where), stored(0));
  assert.deepEqual(await linesOf('consumer', ...where), ['events 0 to 99, sum of x: 4950']);
  assert.deepEqual(await linesOf('producer', ...where), stored(100));
  assert.deepEqual(await linesOf('consumer', ...where), ['events 100 to 199, sum of x: 4950']);
});

test('the energy example pushes every kind of event, and moves the data of those that it selects', async () => {
  assert.deepEqual(await linesOf('energy'), [
    'stored as 0 and 1',
    `the first has {"energy":42} and 'abcdefghijklmnopqrstuvwxyz'`,
    '78 of 100 events are above 20; 2028 bytes of their data were moved',
  ]);
});

test('the fifo example writes lines and reads events, also after a restart of the daemon', async () => {
  assert.deepEqual(await linesOf('fifo'), [
    'read 100 events, the first is {"reading":0}, the last {"reading":99}',
    'after a restart the first is {"reading":100}, the last {"reading":199}',
  ]);
});

test('the collisions example validates, spreads by energy, stores a byte each and moves the rectangle only', async () => {
  const lines = await linesOf('collisions');
  assert.match(lines[0] ?? '', /^refused: .*metadata\/energy must be <= 99/);
  assert.equal(lines[1], 'collisions by energy: 250, 250, 250, 250');
  assert.equal(lines[2], 'metadata stored: 1000 bytes; data moved: 60000 of 512000 bytes');
});

test('the forward example is interrupted, goes on, and has every frame header once', async () => {
  assert.deepEqual(await linesOf('forward'), [
    'forwarded, then interrupted: 100',
    'went on behind it: 100',
    'in the archive: 200 events, 51200 bytes, the last frames 198 and 199',
  ]);
});
