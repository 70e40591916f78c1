import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { LineSplitter, lineBytesMax } from '../../lib/fifo/line-splitter.js';

test('lines are the same however their bytes are cut', () => {
  const text = fc
    .array(fc.constantFrom('a', '\n', 'ä', '話', '\r', '"'), { maxLength: 60 })
    .map((parts) => parts.join(''));
  fc.assert(
    fc.property(text, fc.array(fc.integer({ min: 1, max: 7 }), { minLength: 1 }), (whole, sizes) => {
      const bytes = Buffer.from(whole);
      const splitter = new LineSplitter();
      const lines = [];
      for (let at = 0, turn = 0; at < bytes.length; turn += 1) {
        const chunk = Buffer.from(bytes.subarray(at, at + (sizes[turn % sizes.length] as number)));
        lines.push(...splitter.push(chunk));
        at += chunk.length;
        // The reader uses its buffer again.
        chunk.fill(0);
      }
      lines.push(...splitter.end());
      const expected = whole.split('\n');
      if (expected.at(-1) === '') expected.pop();
      assert.deepEqual(
        lines,
        expected.map((line, index) => ({ number: index + 1, text: line, isMended: false })),
      );
    }),
  );
});

test('a line that no event can hold is not kept, and the next one is', () => {
  const splitter = new LineSplitter();
  const longest = Buffer.alloc(lineBytesMax, 'x');
  assert.deepEqual([...splitter.push(longest), ...splitter.push(longest)], []);
  const [cut, next] = splitter.push(Buffer.from('x\nnext\n'));
  assert.deepEqual([cut?.text, next?.text], [undefined, 'next']);
  splitter.push(longest);
  assert.equal(splitter.end()[0]?.text?.length, lineBytesMax);
});

test('bytes that are not UTF-8 are told of', () => {
  const [line] = new LineSplitter().push(Buffer.from([0x61, 0xff, 0x0a]));
  assert.deepEqual(line, { number: 1, text: 'a\ufffd', isMended: true });
});
