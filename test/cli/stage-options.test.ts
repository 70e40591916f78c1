import assert from 'node:assert/strict';
import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { test } from 'node:test';
import { dottedOptions, readStages, typedValue } from '../../lib/cli/stage-options.js';
import { temporaryDirectory } from '../support/temporary.js';

test('values have the type that they look like', () => {
  const cases: [string, unknown][] = [
    ['4', 4],
    ['true', true],
    ['null', null],
    ['"4"', '4'],
    ['text', 'text'],
    ['1,two,false', [1, 'two', false]],
    ['{"a":[1]}', { a: [1] }],
    ['', ''],
  ];
  for (const [text, value] of cases) assert.deepEqual(typedValue(text), value, text);
});

test('dotted options make objects, and refuse what belongs to nothing', () => {
  const found = dottedOptions(
    ['--validator.type', 'schema', '--validator.schema.properties.a.type=integer', '--topic.x', '1'],
    ['validator', 'topic'],
  );
  assert.deepEqual(Object.fromEntries(found), {
    validator: { type: 'schema', schema: { properties: { a: { type: 'integer' } } } },
    topic: { x: 1 },
  });
  const wrong = [['--unknown.a', '1'], ['word'], ['--validator', 'x'], ['--validator..a', '1'], ['--validator.a']];
  for (const rest of wrong)
    assert.throws(() => dottedOptions(rest, ['validator']), /unknown option|needs a value/, rest[0]);
  dottedOptions(['--validator.__proto__.polluted', '1'], ['validator']);
  assert.equal(({} as { polluted?: number }).polluted, undefined);
});

test('a file, then the type, then dotted options: the later wins', async (t) => {
  const file = join(await temporaryDirectory(t), 'config.json');
  await writeFile(file, '{ "type": "default", "schema": { "a": 1, "b": { "c": 2 } } }');
  const dotted = dottedOptions(
    ['--validator.schema.b.c', '3', '--serializer.type', 'msgpack'],
    ['validator', 'serializer'],
  );
  assert.deepEqual(await readStages({ validator: 'schema', validatorConfig: file }, dotted), {
    validator: { type: 'schema', schema: { a: 1, b: { c: 3 } } },
    serializer: { type: 'msgpack' },
  });
  assert.deepEqual(await readStages({}, new Map()), {});
  await readStages({ validator: 'schema' }, dottedOptions(['--validator.__proto__.polluted', '1'], ['validator']));
  assert.equal(({} as { polluted?: number }).polluted, undefined);
  await writeFile(file, '[]');
  await assert.rejects(readStages({ validatorConfig: file }, new Map()), /JSON object/);
});
