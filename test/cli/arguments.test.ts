import assert from 'node:assert/strict';
import { test } from 'node:test';
import {
  parseBytes,
  parseCount,
  parseDuration,
  parsePositive,
  parseTimeout,
  parseWait,
} from '../../lib/cli/arguments.js';

test('bytes are read with binary units', () => {
  assert.equal(parseBytes('4096'), 4096);
  assert.equal(parseBytes('512K'), 512 * 1024);
  assert.equal(parseBytes('2GiB'), 2 ** 31);
  assert.equal(parseBytes('1.5 gb'), 1.5 * 2 ** 30);
});

test('what is no number of bytes is refused', () => {
  for (const text of ['', 'x', '-1', '1X', '1e3', '99999999T'])
    assert.throws(() => parseBytes(text), /number of bytes/, text);
});

test('times are read with units', () => {
  const times = ['0', '250', '250ms', '90s', '1.5h', '7d'];
  assert.deepEqual(times.map(parseDuration), [0, 250, 250, 90_000, 5_400_000, 604_800_000]);
  for (const text of ['', 'x', '-1', '1w', '1e3', '7 d'])
    assert.throws(() => parseDuration(text), /must be a time/, text);
});

test('counts are whole and in range', () => {
  assert.equal(parseCount('0'), 0);
  assert.equal(parsePositive('12'), 12);
  for (const text of ['', '-1', '1.5', '1e3', '0x10', '9007199254740993']) assert.throws(() => parseCount(text), text);
  assert.throws(() => parsePositive('0'), /at least 1/);
  assert.equal(parseTimeout('2147483647'), 2 ** 31 - 1);
  assert.throws(() => parseTimeout('0'), /at least 1/);
  assert.equal(parseWait('0'), 0);
  assert.throws(() => parseWait('2147483648'), /at most/);
  assert.throws(() => parseTimeout('2147483648'), /at most/);
});
