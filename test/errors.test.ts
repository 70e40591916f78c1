import assert from 'node:assert/strict';
import { test } from 'node:test';
import { fromNative, wrapError } from '../lib/errors.js';
import { DiasporaError, errorCodes } from '../lib/index.js';

test('every code is known, and retryable as the table says', () => {
  for (const { code, retryable } of errorCodes) assert.equal(new DiasporaError(code, 'x').retryable, retryable, code);
  assert.equal(new DiasporaError('QUEUE_FULL', 'x').retryable, true);
});

test('operands are properties, and absent when unknown', () => {
  const cause = new Error('why');
  const error = new DiasporaError('NO_SPACE', 'disk full', { topic: 't', partition: 0, path: '/p', cause });
  assert.deepEqual([error.topic, error.partition, error.path, error.cause], ['t', 0, '/p', cause]);
  assert.equal('address' in error, false);
  assert.equal(error.name, 'DiasporaError');
  assert.ok(error instanceof Error);
});

test('native errors keep their code; what has none is a bug with the original as cause', () => {
  assert.equal(fromNative({ code: 'NO_SPACE', message: 'm' }).code, 'NO_SPACE');
  const odd = new TypeError('odd');
  const error = fromNative(odd);
  assert.deepEqual([error.code, error.cause], ['INTERNAL', odd]);
  assert.equal(fromNative({ code: 'toString', message: 'm' }).code, 'INTERNAL');
  assert.equal(fromNative(undefined).code, 'INTERNAL');
});

test('wrapping keeps our errors and adds a cause to others', () => {
  const ours = new DiasporaError('NO_SPACE', 'x');
  assert.equal(wrapError('INTERNAL', 'what', ours), ours);
  const wrapped = wrapError('NOT_WRITABLE', 'the directory', new Error('EACCES'));
  assert.equal(wrapped.message, 'the directory: EACCES');
});
