import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';

async function linesOf(example: string): Promise<string[]> {
  const program = fileURLToPath(new URL(`../../examples/${example}/main.js`, import.meta.url));
  const { stdout } = await promisify(execFile)(process.execPath, [program]);
  return stdout.trim().split('\n');
}

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
