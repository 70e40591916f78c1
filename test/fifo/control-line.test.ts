import assert from 'node:assert/strict';
import { test } from 'node:test';
import { parseControlLine } from '../../lib/fifo/control-line.js';
import { BatchSize } from '../../lib/index.js';

const adaptive = BatchSize.adaptive();

test('control lines: path, arrow, topic and options, as the reference writes them', () => {
  const cases: [string, object | undefined][] = [
    ['in -> notes', { kind: 'feed', path: 'in', topic: 'notes', format: 'raw', batchSize: adaptive }],
    [
      ' /tmp/my pipe->notes (format=json, batch_size = 128) ',
      { kind: 'feed', path: '/tmp/my pipe', topic: 'notes', format: 'json', batchSize: BatchSize.of(128) },
    ],
    ['a <- b ()', { kind: 'tap', path: 'a', topic: 'b', format: 'json', batchSize: adaptive, name: undefined }],
    [
      'a <- b(name=reader,format=raw,batch_size=adaptive)',
      { kind: 'tap', path: 'a', topic: 'b', format: 'raw', batchSize: adaptive, name: 'reader' },
    ],
    ['a -> b -> c', { kind: 'feed', path: 'a', topic: 'b -> c', format: 'raw', batchSize: adaptive }],
    ['', undefined],
    ['  # a -> b', undefined],
  ];
  for (const [line, command] of cases) assert.deepEqual(parseControlLine(line), command, line);
});

test('control lines that are wrong say what is', () => {
  const cases: [string, string, RegExp][] = [
    ['nonsense', 'INVALID_ARGUMENT', /PATH -> TOPIC/],
    ['-> notes', 'INVALID_ARGUMENT', /PATH -> TOPIC/],
    ['in ->', 'INVALID_ARGUMENT', /PATH -> TOPIC/],
    ['in -> notes (format=json', 'INVALID_ARGUMENT', /PATH -> TOPIC/],
    ['in -> notes (json)', 'INVALID_ARGUMENT', /'json' is not KEY=VALUE/],
    ['in -> notes (format=xml)', 'INVALID_ARGUMENT', /raw or json, not 'xml'/],
    ['in -> notes (batch_size=0)', 'INVALID_ARGUMENT', /1 to 65536/],
    ['in -> notes (name=x)', 'INVALID_ARGUMENT', /no option 'name' here/],
    ['in <- notes (format=json, format=raw)', 'INVALID_ARGUMENT', /twice/],
    ['in -> a/b', 'INVALID_NAME', /'?\/'?/],
    ['in <- notes (name=a:b)', 'INVALID_NAME', /consumer/],
  ];
  for (const [line, code, message] of cases) assert.throws(() => parseControlLine(line), { code, message }, line);
});
