/** The small parts under the thread pool: its queue, errors between threads, values that text gives back. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { DiasporaError } from '../../lib/index.js';
import { receiveError, sendError } from '../../lib/stages/error-transport.js';
import { Fifo } from '../../lib/stages/fifo.js';
import { isPlainJson } from '../../lib/stages/plain-json.js';

function travel(thrown: unknown): DiasporaError {
  return receiveError(structuredClone(sendError(thrown)));
}

test('an error between threads keeps its class, code, operands, causes and stack', () => {
  const cause = Object.assign(new RangeError('too far', { cause: { why: [1] } }), { code: 'E_FAR' });
  const inner = new DiasporaError('NO_SPACE', 'full', { partition: 1 });
  const operands = { topic: 't', partition: 3, eventId: 2n ** 60n, path: '/x', cause, errors: [inner] };
  const error = new DiasporaError('INVALID_METADATA', 'refused', operands);
  const made = travel(error);
  assert.ok(made instanceof DiasporaError);
  for (const key of ['code', 'message', 'stack', 'retryable', 'topic', 'partition', 'eventId', 'path', 'consumer']) {
    assert.deepEqual(made[key as keyof DiasporaError], error[key as keyof DiasporaError], key);
  }
  const madeCause = made.cause as RangeError & { code: string };
  assert.ok(madeCause instanceof RangeError);
  assert.deepEqual([madeCause.message, madeCause.code, madeCause.cause], ['too far', 'E_FAR', { why: [1] }]);
  assert.deepEqual([made.errors.length, made.errors[0]?.code, made.errors[0]?.retryable], [1, 'NO_SPACE', true]);
});

test('what is no DiasporaError, cannot be cloned, or has itself as its cause arrives all the same', () => {
  class OwnError extends Error {
    override readonly name = 'OwnError';
  }
  const own = travel(new OwnError('x'));
  assert.deepEqual([own.code, own.message, (own.cause as Error).name], ['INTERNAL', 'x', 'OwnError']);
  assert.equal(travel(5).cause, 5);
  assert.equal(travel(undefined).code, 'INTERNAL');
  assert.match(String(travel(() => 'a function').cause), /a function/);
  const circle = new Error('circle');
  circle.cause = circle;
  assert.equal(travel(circle).message, 'circle');
  // As on one thread, the code of a foreign error counts if it is one of ours.
  assert.equal(travel(Object.assign(new Error('full'), { code: 'NO_SPACE' })).code, 'NO_SPACE');
});

test('a queue is a queue, also when items come back to its front', () => {
  const step = fc.oneof(
    fc.record({ push: fc.nat({ max: 1500 }) }),
    fc.record({ shift: fc.nat({ max: 1500 }) }),
    fc.record({ putBack: fc.array(fc.nat(), { maxLength: 5 }) }),
  );
  fc.assert(
    fc.property(fc.array(step, { maxLength: 30 }), (steps) => {
      const queue = new Fifo<number>();
      const model: number[] = [];
      let next = 0;
      for (const each of steps) {
        if ('push' in each) for (let i = 0; i < each.push; i++) queue.push(model[model.push(next++) - 1] as number);
        else if ('shift' in each) for (let i = 0; i < each.shift; i++) assert.equal(queue.shift(), model.shift());
        else {
          queue.putBack(each.putBack);
          model.unshift(...each.putBack);
        }
        assert.equal(queue.length, model.length);
      }
      assert.deepEqual(queue.clear(), model);
      assert.equal(queue.length, 0);
    }),
  );
});

test('every JSON value is plain, and what is plain comes back from its text', () => {
  fc.assert(
    fc.property(fc.jsonValue(), (value) => {
      assert.equal(isPlainJson(JSON.parse(JSON.stringify(value))), true);
    }),
  );
  fc.assert(
    fc.property(fc.anything({ withDate: true, withBigInt: true, withSparseArray: true, withMap: true }), (value) => {
      if (isPlainJson(value)) assert.deepStrictEqual(JSON.parse(JSON.stringify(value)), value);
    }),
  );
});
