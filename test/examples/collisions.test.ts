import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';

test('the collisions example validates, spreads by energy, stores a byte each and moves the rectangle only', async () => {
  const program = fileURLToPath(new URL('../../examples/collisions/main.js', import.meta.url));
  const { stdout } = await promisify(execFile)(process.execPath, [program]);
  const lines = stdout.trim().split('\n');
  assert.match(lines[0] ?? '', /^refused: .*metadata\/energy must be <= 99/);
  assert.equal(lines[1], 'collisions by energy: 250, 250, 250, 250');
  assert.equal(lines[2], 'metadata stored: 1000 bytes; data moved: 60000 of 512000 bytes');
});
