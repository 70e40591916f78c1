import assert from 'node:assert/strict';
import { test } from 'node:test';
import { BatchSize } from '../lib/index.js';
import { checkKeys, choiceOption, formatEndpoint, integerOption, parseEndpoint } from '../lib/options.js';

test('an unknown option is refused by name', () => {
  assert.throws(() => checkKeys('a producer', { batchsize: 1 }, ['batchSize']), {
    code: 'INVALID_ARGUMENT',
    message: /a producer has no option 'batchsize'/,
  });
  assert.deepEqual(checkKeys('x', undefined, []), {});
  assert.throws(() => checkKeys('x', 'y' as never, []), { code: 'INVALID_ARGUMENT' });
});

test('integers must be integers within their range', () => {
  const rule = { min: 1, max: 9, fallback: 5 };
  assert.equal(integerOption('n', undefined, rule), 5);
  assert.equal(integerOption('n', 9, rule), 9);
  for (const bad of [0, 10, 1.5, Number.NaN, '3' as never, null as never]) {
    assert.throws(() => integerOption('n', bad, rule), {
      code: 'INVALID_ARGUMENT',
      message: /^n must be an integer of 1 to 9/,
    });
  }
  assert.throws(() => choiceOption('c', 'z' as 'a', ['a', 'b'], 'a'), { message: /'a', 'b'/ });
});

test('addresses are host and port, with or without a scheme', () => {
  assert.deepEqual(parseEndpoint('a', 'tcp://127.0.0.1:80'), { host: '127.0.0.1', port: 80 });
  assert.deepEqual(parseEndpoint('a', 'node-3.example.org:0'), { host: 'node-3.example.org', port: 0 });
  assert.deepEqual(parseEndpoint('a', '[::1]:7000'), { host: '::1', port: 7000 });
  assert.equal(formatEndpoint({ host: '::1', port: 1 }), '[::1]:1');
  for (const bad of ['', 'host', 'host:', ':1', 'host:65536', 'udp://h:1', 'a:b:1', 'h:1/x', undefined as never]) {
    assert.throws(() => parseEndpoint('a', bad), { code: 'INVALID_ARGUMENT' }, String(bad));
  }
});

test('batch sizes are adaptive or 1 to 65536 events', () => {
  assert.equal(BatchSize.from(undefined).isAdaptive, true);
  assert.equal(BatchSize.from(7).events, 7);
  assert.equal(String(BatchSize.adaptive()), 'adaptive');
  for (const bad of [0, -1, 1.5, 65537, '4' as never])
    assert.throws(() => BatchSize.from(bad), { code: 'INVALID_ARGUMENT' });
});
