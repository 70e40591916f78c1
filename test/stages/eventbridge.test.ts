import assert from 'node:assert/strict';
import { test } from 'node:test';
import { inspect } from 'node:util';
import { DiasporaError } from '../../lib/errors.js';
import { compileEventBridge } from '../../lib/stages/eventbridge.js';

/** Of one pattern: the events that match, and those that do not. */
interface Row {
  readonly pattern: unknown;
  readonly yes: readonly unknown[];
  readonly no: readonly unknown[];
}

function checkRow({ pattern, yes, no }: Row): void {
  const matches = compileEventBridge(pattern);
  const say = (event: unknown): string => `${inspect(pattern, { depth: 8 })} ${inspect(event, { depth: 8 })}`;
  for (const event of yes) assert.equal(matches(event), true, say(event));
  for (const event of no) assert.equal(matches(event), false, say(event));
}

/** A row about the field `a`: its matchers, the values of it that match, and those that do not. */
function rowOfField(matchers: unknown, yes: readonly unknown[], no: readonly unknown[]): Row {
  return { pattern: { a: matchers }, yes: yes.map((a) => ({ a })), no: no.map((a) => ({ a })) };
}

function checkRefused(pattern: unknown, message: RegExp): void {
  assert.throws(
    () => compileEventBridge(pattern),
    (error: unknown) => {
      assert.ok(error instanceof DiasporaError);
      assert.equal(error.code, 'INVALID_ARGUMENT');
      assert.match(error.message, message);
      return true;
    },
    String(message),
  );
}

/** `{ a: { a: ... { a: inner } } }`, with `levels` objects around `inner`. */
function nest(levels: number, inner: unknown): unknown {
  let value = inner;
  for (let level = 0; level < levels; level++) value = { a: value };
  return value;
}

const sample = {
  source: 'aws.ec2',
  resources: ['arn:1', 'arn:2'],
  detail: { state: 'running', count: 5, address: '10.0.0.33', file: 'dir/sub/photo.png', owner: null, tags: [] },
};

test('an empty pattern matches anything', () => {
  checkRow({ pattern: {}, yes: [sample, {}, [], [1], null, 0, '', true, undefined], no: [] });
  checkRow({ pattern: { a: {} }, yes: [{}, { a: 1 }, { a: { b: 1 } }, null], no: [] });
});

test('literals match the value of the same type, and null only where it stands', () => {
  const rows = [
    rowOfField([1], [1, 1.0, [3, 1]], ['1', true, 2, null, {}, [], { a: 1 }, [[2]]]),
    rowOfField(['x', 'y'], ['x', 'y', ['z', 'y']], ['z', '', 'X', ['z'], null]),
    rowOfField([''], ['', ['']], [' ', null, [], {}]),
    rowOfField([true], [true, [false, true]], [false, 'true', 1]),
    rowOfField([null], [null, [null], [1, null]], [[], {}, 0, '', false, undefined, 'null']),
    rowOfField([0], [0, -0], [null, '', false, '0']),
    rowOfField([300], [300, 3.0e2], [300.5]),
    rowOfField([1, 'one', null, false], [1, 'one', null, false], [0, 'null', true]),
    { pattern: { a: [null] }, yes: [], no: [{}, null, 1, []] },
  ];
  for (const row of rows) checkRow(row);
});

test('several fields must all match, and nested patterns look into objects', () => {
  const rows: Row[] = [
    { pattern: { a: [1], b: [2] }, yes: [{ a: 1, b: 2, c: 3 }], no: [{ a: 1 }, { b: 2 }, { a: 1, b: 3 }, {}] },
    {
      pattern: { source: ['aws.ec2'], resources: ['arn:2'], detail: { state: ['stopped', 'running'], owner: [null] } },
      yes: [sample],
      no: [
        { ...sample, source: 'x' },
        { ...sample, detail: {} },
        { ...sample, detail: 'running' },
      ],
    },
    { pattern: nest(3, [1]), yes: [nest(3, 1)], no: [nest(2, 1), nest(4, 1), { a: { a: 1 } }] },
  ];
  for (const row of rows) checkRow(row);
});

test('lists of an event match by element', () => {
  const rows: Row[] = [
    rowOfField(
      [2],
      [
        [1, 2],
        [[1], [[2]]],
        [{ a: 1 }, 2],
      ],
      [[1, 3], [], [[]], [{ a: 2 }]],
    ),
    rowOfField([{ prefix: 'x' }], [['a', 'xa']], [['a'], [1]]),
    {
      pattern: { a: { b: [1], c: [2] } },
      yes: [{ a: [{ b: 1, c: 2 }] }, { a: [{ b: 1 }, 7, [{ b: [0, 1], c: 2 }]] }],
      no: [
        { a: [{ b: 1 }, { c: 2 }] },
        { a: [] },
        { a: [1, 2] },
        {
          a: [
            { b: 1, c: 3 },
            { b: 3, c: 2 },
          ],
        },
      ],
    },
    // An event as a whole is an object, never a list of them.
    { pattern: { a: [1] }, yes: [{ a: 1 }], no: [[{ a: 1 }], 'a', 1, null, undefined] },
  ];
  for (const row of rows) checkRow(row);
});

test('prefix and suffix', () => {
  const rows = [
    rowOfField([{ prefix: 'us-' }], ['us-east', 'us-'], ['US-east', 'us', 'eu-us-', 1, null, true, {}]),
    rowOfField([{ prefix: '' }], ['', 'x'], [0, null]),
    rowOfField([{ prefix: ['a', 'b'] }], ['ax', 'b'], ['xa', '']),
    rowOfField([{ prefix: { 'equals-ignore-case': 'EventB' } }], ['eventbridge', 'EVENTB'], ['event', 'xeventb', 1]),
    rowOfField([{ prefix: { 'equals-ignore-case': ['X', 'éa'] } }], ['xa', 'ÉA', 'Éab'], ['ea', 'y']),
    rowOfField([{ prefix: { 'equals-ignore-case': 'ΟΔΟΣ' } }], ['οδος', 'ΟΔΟΣΑ', 'οδοσα'], ['οδο']),
    rowOfField([{ suffix: '.png' }], ['a.png', '.png'], ['a.PNG', 'a.png ', 'png', 1]),
    rowOfField([{ suffix: ['.png', '.jpg'] }], ['a.png', 'a.jpg'], ['a.gif']),
    rowOfField([{ suffix: { 'equals-ignore-case': '.PNG' } }], ['a.png', 'A.pNg'], ['a.jpg']),
    rowOfField([{ suffix: { 'equals-ignore-case': ['.PNG', 'É'] } }], ['a.png', 'caf\u00e9'], ['cafe']),
  ];
  for (const row of rows) checkRow(row);
});

test('equals-ignore-case folds all of Unicode', () => {
  const rows = [
    rowOfField([{ 'equals-ignore-case': 'Alice' }], ['alice', 'ALICE', ['bob', 'aLiCe']], ['alic', 'alice ', 1, null]),
    rowOfField([{ 'equals-ignore-case': 'É' }], ['é', 'É'], ['e', 'E']),
    rowOfField([{ 'equals-ignore-case': ['a', 'B'] }], ['A', 'b'], ['c', 'ab']),
    rowOfField([{ 'equals-ignore-case': 'straße' }], ['STRAßE', 'Straße'], ['STRASSE']),
  ];
  for (const row of rows) checkRow(row);
});

test('anything-but wants a value, and another one', () => {
  const rows: Row[] = [
    rowOfField([{ 'anything-but': 'x' }], ['y', '', 1, null, true, ['x', 'y']], ['x', ['x'], ['x', 'x'], [], {}]),
    rowOfField([{ 'anything-but': 1 }], [2, '1', null], [1, 1.0]),
    rowOfField([{ 'anything-but': null }], [0, '', false], [null]),
    rowOfField([{ 'anything-but': [1, 'x', null, true] }], [2, 'y', false], [1, 'x', null, true, [1, 'x']]),
    rowOfField([{ 'anything-but': { prefix: 'us-' } }], ['eu-', 1, null], ['us-', 'us-east']),
    rowOfField([{ 'anything-but': { prefix: ['us-', 'eu-'] } }], ['ap-'], ['us-1', 'eu-1']),
    rowOfField([{ 'anything-but': { suffix: '.png' } }], ['a.jpg'], ['a.png']),
    rowOfField([{ 'anything-but': { suffix: ['.png', '.jpg'] } }], ['a.gif'], ['a.png', 'a.jpg']),
    rowOfField([{ 'anything-but': { 'equals-ignore-case': 'init' } }], ['run'], ['INIT', 'init']),
    rowOfField([{ 'anything-but': { 'equals-ignore-case': ['a', 'b'] } }], ['c'], ['A', 'B']),
    rowOfField([{ 'anything-but': { wildcard: '*/lib/*' } }], ['/src/a'], ['/lib/a']),
    rowOfField([{ 'anything-but': { wildcard: ['*/lib/*', 'x*'] } }], ['/src/a'], ['/lib/a', 'xy']),
    { pattern: { a: [{ 'anything-but': 'x' }] }, yes: [{ a: 'y' }], no: [{}, { b: 'y' }, null] },
  ];
  for (const row of rows) checkRow(row);
});

test('numeric compares numbers, and all comparisons must hold', () => {
  const rows = [
    rowOfField([{ numeric: ['=', 5] }], [5, 5.0, [1, 5]], [4, '5', null, true, []]),
    rowOfField([{ numeric: ['>', 0, '<=', 5] }], [5, 0.001, 3], [0, 5.001, -1]),
    rowOfField([{ numeric: ['>=', 0, '<', 5] }], [0, -0, 4.999], [5, -0.001]),
    rowOfField([{ numeric: ['<', -1.5e3] }], [-1501], [-1500, 0]),
    rowOfField([{ numeric: ['>', 0, '<', 10, '>=', 5] }], [5, 9], [4, 10]),
    rowOfField([{ numeric: ['>', 5, '<', 3] }], [], [2, 3, 4, 5, 6]),
    rowOfField([{ numeric: ['<', 0] }, { numeric: ['>', 9] }], [-1, 10], [0, 9]),
    // One element must satisfy all comparisons.
    rowOfField([{ numeric: ['>', 0, '<', 5] }], [[-1, 2]], [[-1, 6]]),
  ];
  for (const row of rows) checkRow(row);
});

test('exists looks at leaves', () => {
  const rows: Row[] = [
    rowOfField([{ exists: true }], [1, null, '', false, [1], [[1]]], [{}, { b: 1 }, [], [[]], [{ b: 1 }], undefined]),
    rowOfField([{ exists: false }], [{}, { b: 1 }, [], [{ b: 1 }], undefined], [1, null, '', false, [1]]),
    rowOfField([{ exists: false }, 'x', { prefix: 'y' }], ['x', 'yy', {}, []], ['z', null]),
    { pattern: { a: [{ exists: true }] }, yes: [], no: [{}, null, { b: 1 }] },
    { pattern: { a: [{ exists: false }] }, yes: [{}, null, 1, 'a', { b: 1 }], no: [{ a: 0 }] },
    { pattern: { a: [{ exists: false }, 5] }, yes: [{}, { a: 5 }], no: [{ a: 4 }] },
    {
      pattern: { a: { b: [{ exists: false }] } },
      yes: [{}, { a: 1 }, { a: null }, { a: {} }, { a: [] }, { a: [1] }, { a: [{ b: 1 }, { c: 1 }] }],
      no: [{ a: { b: 1 } }, { a: [1, { b: 1 }] }, { a: [{ b: 1 }, { b: 2 }] }],
    },
  ];
  for (const row of rows) checkRow(row);
});

test('cidr takes addresses of both versions', () => {
  const rows = [
    rowOfField(
      [{ cidr: '10.0.0.0/24' }],
      ['10.0.0.0', '10.0.0.255', ['x', '10.0.0.1']],
      ['10.0.1.0', '10.0.0', '', 10],
    ),
    rowOfField([{ cidr: '10.0.0.77/24' }], ['10.0.0.1'], ['10.0.1.1']),
    rowOfField([{ cidr: '0.0.0.0/0' }], ['1.2.3.4', '255.255.255.255'], ['1.2.3.4/32', '1.2.3', '1.2.3.256', null]),
    rowOfField([{ cidr: '1.2.3.4/32' }], ['1.2.3.4', '::ffff:1.2.3.4'], ['1.2.3.5']),
    rowOfField([{ cidr: '2001:db8::/33' }], ['2001:db8:7fff::1'], ['2001:db8:8000::1', '2001:db9::', '10.0.0.1', ':']),
    rowOfField([{ cidr: '::1/128' }], ['::1', '0:0:0:0:0:0:0:1'], ['::2', '::1::', '1'.repeat(100_000)]),
    rowOfField([{ cidr: 'fe80::/10' }], ['fe80::1', 'fe80::1%eth0'], ['fec0::1']),
  ];
  for (const row of rows) checkRow(row);
});

test('wildcard: a star is any run of characters, all else is itself', () => {
  const rows = [
    rowOfField([{ wildcard: 'dir/*.png' }], ['dir/.png', 'dir/a/b.png'], ['dir/a.jpg', 'xdir/a.png', 'dir.png', 1]),
    rowOfField([{ wildcard: 'a.c' }], ['a.c'], ['abc', 'a.cc', 'A.C']),
    rowOfField([{ wildcard: '(a|b)+[c]?{1}^$' }], ['(a|b)+[c]?{1}^$'], ['a', 'c']),
    rowOfField([{ wildcard: '*' }], ['', 'a', 'a\nb', '*'], [1, null, {}]),
    rowOfField([{ wildcard: '' }], [''], ['a']),
    rowOfField([{ wildcard: 'a*a' }], ['aa', 'aba', 'aaa'], ['a', 'ab']),
    rowOfField([{ wildcard: '*ab*ab' }], ['abab', 'xabyab', 'ababab'], ['ab', 'aab', 'ababx']),
    rowOfField([{ wildcard: '*aab*' }], ['aaab', 'aabaab'], ['abab', 'aa']),
    rowOfField([{ wildcard: 'a\\*b' }], ['a*b'], ['axb', 'a\\*b', 'ab']),
    rowOfField([{ wildcard: 'a\\\\b' }], ['a\\b'], ['a\\\\b', 'ab']),
    rowOfField([{ wildcard: 'a\\\\*b' }], ['a\\b', 'a\\xb'], ['a*b', 'axb']),
    rowOfField([{ wildcard: '\\**\\*' }], ['**', '*x*'], ['*', 'xx', '*x']),
    rowOfField([{ wildcard: 'é*🙂' }], ['é🙂', 'éx🙂'], ['é', '🙂']),
    rowOfField([{ wildcard: 'a\n*' }], ['a\n', 'a\nb'], ['a b']),
    rowOfField([{ wildcard: ['a*', '*z'] }], ['ab', 'yz'], ['by']),
  ];
  for (const row of rows) checkRow(row);
});

/** All texts of up to `length` characters of `alphabet`. */
function texts(alphabet: readonly string[], length: number): string[] {
  const all = [''];
  for (let from = 0, round = 0; round < length; round++) {
    const to = all.length;
    for (; from < to; from++) for (const unit of alphabet) all.push(all[from] + unit);
  }
  return all;
}

/** The definition of a wildcard, without regard to time. */
function matchesByDefinition(wildcard: string, text: string): boolean {
  if (wildcard === '') return text === '';
  const rest = wildcard.slice(1);
  if (!wildcard.startsWith('*')) return text.startsWith(wildcard[0]!) && matchesByDefinition(rest, text.slice(1));
  return Array.from({ length: text.length + 1 }, (_, at) => at).some((at) => matchesByDefinition(rest, text.slice(at)));
}

test('all short wildcards match the short texts that their definition says', () => {
  const subjects = texts(['a', 'b'], 6);
  for (const wildcard of texts(['a', 'b', '*'], 5)) {
    if (wildcard.includes('**')) continue;
    const matches = compileEventBridge({ a: [{ wildcard }] });
    for (const subject of subjects) {
      const expected = matchesByDefinition(wildcard, subject);
      assert.equal(matches({ a: subject }), expected, `${wildcard} ${subject}`);
    }
  }
});

test('$or adds alternatives at any level', () => {
  const rows: Row[] = [
    { pattern: { $or: [{ a: [1] }, { b: [2] }] }, yes: [{ a: 1 }, { b: 2 }, { a: 1, b: 2 }], no: [{}, { a: 2, b: 1 }] },
    {
      pattern: { s: ['x'], $or: [{ a: [1] }, { b: [2], c: [3] }] },
      yes: [
        { s: 'x', a: 1 },
        { s: 'x', b: 2, c: 3 },
      ],
      no: [{ a: 1 }, { s: 'x' }, { s: 'x', b: 2 }],
    },
    {
      pattern: { d: { $or: [{ a: [1] }, { $or: [{ b: [2] }, { c: { e: [3] } }] }], f: [4] } },
      yes: [{ d: { a: 1, f: 4 } }, { d: { b: 2, f: 4 } }, { d: [{ f: 4 }, { c: { e: 3 }, f: 4 }] }],
      no: [{ d: { a: 1 } }, { d: { f: 4 } }, { d: [{ f: 4 }, { a: 1 }] }, { a: 1, f: 4 }],
    },
    { pattern: { $or: [{ a: [1] }] }, yes: [{ a: 1 }], no: [{ a: 2 }, { $or: 1 }] },
    { pattern: { $or: [{ a: [1] }, {}] }, yes: [{ a: 2 }, null], no: [] },
  ];
  for (const row of rows) checkRow(row);
});

test('matchers of a list are alternatives, literals and rules together', () => {
  const rows = [
    rowOfField(['x', { prefix: 'y' }, { numeric: ['>', 5] }, null], ['x', 'yy', 6, null], ['z', 5, true]),
    rowOfField([{ prefix: 'x' }, 1, 2], ['xx', 1, 2], [3, 'y']),
  ];
  for (const row of rows) checkRow(row);
});

test('a primitive stands for a list of one', () => {
  for (const value of [1, 'x', true, false, null, 0, '']) {
    checkRow(rowOfField(value, [value, ['y', value]], ['y', 7, {}, []]));
  }
  checkRow({ pattern: { a: { b: 1 }, c: 'x' }, yes: [{ a: { b: 1 }, c: 'x' }], no: [{ a: 1, c: 'x' }] });
  // An object is a nested pattern, also with the name of a rule as a key.
  checkRow({ pattern: { a: { prefix: 'x' } }, yes: [{ a: { prefix: 'x' } }], no: [{ a: 'xy' }] });
});

test('a key with dots is a path, unless the event has a field of that name', () => {
  const rows: Row[] = [
    {
      pattern: { 'a.b': 1 },
      yes: [{ a: { b: 1 } }, { 'a.b': 1 }, { a: [{ b: 2 }, { b: 1 }] }, { 'a.b': 1, a: { b: 2 } }],
      no: [{ a: { b: 2 } }, { 'a.b': 2, a: { b: 1 } }, { a: 1 }, { b: 1 }, {}],
    },
    {
      pattern: { 'a.b.c': { d: [1] } },
      yes: [{ a: { b: { c: { d: 1 } } } }, { a: { 'b.c': { d: 1 } } }, { 'a.b.c': { d: 1 } }],
      no: [{ a: { b: { c: 1 } } }, { a: { 'b.c': { d: 2 }, b: { c: { d: 1 } } } }],
    },
    {
      pattern: { 'a.b': [{ exists: false }] },
      yes: [{}, { a: { c: 1 } }, { a: 1 }],
      no: [{ a: { b: 1 } }, { 'a.b': 1 }],
    },
    { pattern: { x: { 'a.b': [1] } }, yes: [{ x: { a: { b: 1 } } }, { x: { 'a.b': 1 } }], no: [{ 'x.a.b': 1 }] },
    { pattern: { 'a.': 1, '.': 2 }, yes: [{ a: { '': 1 }, '': { '': 2 } }], no: [{ a: 1 }] },
  ];
  for (const row of rows) checkRow(row);
});

const refusals: readonly [pattern: unknown, message: RegExp][] = [
  [[], /^pattern must be a pattern, which is a plain object, not an empty list$/],
  [[{ a: 1 }], /^pattern must be a pattern, .* not a list of 1$/],
  [null, /^pattern must be .* not null$/],
  [undefined, /^pattern must be .* not undefined$/],
  ['a', /^pattern must be .* not "a"$/],
  [1, /^pattern must be .* not 1$/],
  [new Map(), /^pattern must be a pattern, which is a plain object/],
  [() => true, /^pattern must be .* not a function$/],
  [{ a: [] }, /^pattern\.a must be a list of at least one matcher, not an empty list$/],
  [{ a: { b: { c: [] } } }, /^pattern\.a\.b\.c must be a list/],
  [
    { a: undefined },
    /^pattern\.a must be a string, a finite number, true, false or null, or an object with one of prefix/,
  ],
  [{ a: Number.NaN }, /^pattern\.a must be .* not NaN$/],
  [{ a: [Number.POSITIVE_INFINITY] }, /^pattern\.a\[0\] must be .* not Infinity$/],
  [{ a: 1n }, /^pattern\.a must be /],
  [{ a: /x/ }, /^pattern\.a must be /],
  [{ a: new Date(0) }, /^pattern\.a must be /],
  [{ a: [1, [2]] }, /^pattern\.a\[1\] must be .* not a list of 1$/],
  [{ a: new Array(1) }, /^pattern\.a\[0\] must be .* not undefined$/],
  [{ a: [{}] }, /^pattern\.a\[0\] must be an object with exactly one key, one of prefix, .*, cidr, not an object/],
  [{ a: [{ prefix: 'x', suffix: 'y' }] }, /^pattern\.a\[0\] must be .* exactly one key.* keys \{prefix, suffix\}$/],
  [{ a: ['x', { regex: 'y' }] }, /^pattern\.a\[1\] must be .* exactly one key, one of .* keys \{regex\}$/],
  [{ a: [{ toString: 'y' }] }, /^pattern\.a\[0\] must be .* exactly one key/],
  [{ a: [JSON.parse('{"__proto__":"y"}')] }, /^pattern\.a\[0\] must be .* exactly one key/],
  [{ a: [{ $or: [{ b: 1 }] }] }, /^pattern\.a\[0\] must be .* exactly one key/],
  [{ a: [{ prefix: 1 }] }, /^pattern\.a\[0\]\.prefix must be a string or a list .* not 1$/],
  [{ a: [{ prefix: [] }] }, /^pattern\.a\[0\]\.prefix must be .* not an empty list$/],
  [{ a: [{ prefix: ['x', 1] }] }, /^pattern\.a\[0\]\.prefix must be .* not 1$/],
  [{ a: [{ prefix: {} }] }, /^pattern\.a\[0\]\.prefix must be .* one of equals-ignore-case/],
  [{ a: [{ prefix: { wildcard: 'x' } }] }, /^pattern\.a\[0\]\.prefix must be .* one of equals-ignore-case/],
  [{ a: [{ prefix: { 'equals-ignore-case': 1 } }] }, /^pattern\.a\[0\]\.prefix\.equals-ignore-case must be a string/],
  [{ a: [{ suffix: null }] }, /^pattern\.a\[0\]\.suffix must be .* not null$/],
  [{ a: [{ suffix: { prefix: 'x' } }] }, /^pattern\.a\[0\]\.suffix must be /],
  [{ a: [{ 'equals-ignore-case': 1 }] }, /^pattern\.a\[0\]\.equals-ignore-case must be a string/],
  [{ a: [{ 'equals-ignore-case': [] }] }, /^pattern\.a\[0\]\.equals-ignore-case must be a string/],
  [{ a: [{ 'equals-ignore-case': { prefix: 'x' } }] }, /^pattern\.a\[0\]\.equals-ignore-case must be a string/],
  [{ a: [{ 'anything-but': [] }] }, /^pattern\.a\[0\]\.anything-but must be .* not an empty list$/],
  [{ a: [{ 'anything-but': {} }] }, /^pattern\.a\[0\]\.anything-but must be .* exactly one key/],
  [{ a: [{ 'anything-but': [['x']] }] }, /^pattern\.a\[0\]\.anything-but must be /],
  [{ a: [{ 'anything-but': [{ prefix: 'x' }] }] }, /^pattern\.a\[0\]\.anything-but must be /],
  [{ a: [{ 'anything-but': undefined }] }, /^pattern\.a\[0\]\.anything-but must be /],
  [{ a: [{ 'anything-but': { numeric: ['=', 1] } }] }, /^pattern\.a\[0\]\.anything-but must be /],
  [{ a: [{ 'anything-but': { exists: true } }] }, /^pattern\.a\[0\]\.anything-but must be /],
  [{ a: [{ 'anything-but': { prefix: 1 } }] }, /^pattern\.a\[0\]\.anything-but\.prefix must be /],
  [{ a: [{ numeric: 5 }] }, /^pattern\.a\[0\]\.numeric must be a list of pairs: \[operator, number, \.\.\.\], not 5$/],
  [{ a: [{ numeric: [] }] }, /^pattern\.a\[0\]\.numeric must be a list of pairs/],
  [{ a: [{ numeric: ['>', 1, '<'] }] }, /^pattern\.a\[0\]\.numeric must be .* not a list of 3$/],
  [{ a: [{ numeric: ['>', 1, '!=', 2] }] }, /^pattern\.a\[0\]\.numeric\[2\] must be one of =, >, >=, <, <=, not "!="$/],
  [{ a: [{ numeric: [5, 5] }] }, /^pattern\.a\[0\]\.numeric\[0\] must be one of/],
  [{ a: [{ numeric: ['=', '5'] }] }, /^pattern\.a\[0\]\.numeric\[1\] must be a finite number, not "5"$/],
  [{ a: [{ numeric: ['=', Number.NaN] }] }, /^pattern\.a\[0\]\.numeric\[1\] must be a finite number/],
  [{ a: [{ exists: 1 }] }, /^pattern\.a\[0\]\.exists must be true or false, not 1$/],
  [{ a: [{ exists: 'true' }] }, /^pattern\.a\[0\]\.exists must be true or false/],
  ...[
    5,
    '',
    'x',
    '10.0.0.0',
    '10.0.0.0/',
    '10.0.0.0/33',
    '::/129',
    '10.0.0/8',
    '10.0.0.0/-1',
    'fe80::%a/10',
    ['::/1'],
  ].map((cidr): [unknown, RegExp] => [{ a: [{ cidr }] }, /^pattern\.a\[0\]\.cidr must be an IPv4 or IPv6 block/]),
  ...['a**', '**', 'a***b', '\\***', 'a\\b', '\\', 'a*\\', '\\\\\\'].map((wildcard): [unknown, RegExp] => [
    { a: [{ wildcard }] },
    /^pattern\.a\[0\]\.wildcard must be without two \* in a row/,
  ]),
  [{ a: [{ wildcard: 1 }] }, /^pattern\.a\[0\]\.wildcard must be a string/],
  [{ a: [{ wildcard: { prefix: 'x' } }] }, /^pattern\.a\[0\]\.wildcard must be a string/],
  [{ $or: [] }, /^pattern\.\$or must be a list of one pattern or more, not an empty list$/],
  [{ $or: { a: 1 } }, /^pattern\.\$or must be a list/],
  [{ $or: 'a' }, /^pattern\.\$or must be a list/],
  [{ $or: [{ a: 1 }, 5] }, /^pattern\.\$or\[1\] must be a pattern, which is a plain object, not 5$/],
  [{ $or: [[{ a: 1 }]] }, /^pattern\.\$or\[0\] must be a pattern/],
  [{ $or: new Array(1) }, /^pattern\.\$or\[0\] must be a pattern/],
  [{ $or: [{ a: [] }] }, /^pattern\.\$or\[0\]\.a must be a list/],
];

test('what is no pattern is refused, with its place and what is allowed', () => {
  for (const [pattern, message] of refusals) checkRefused(pattern, message);
});

test('patterns nest 64 deep and no deeper', () => {
  const tooDeep = /^pattern\.a\.a.* is too deep: a pattern may nest 64 deep$/;
  checkRow({ pattern: nest(64, [1]), yes: [nest(64, 1)], no: [nest(63, 1), nest(65, 1)] });
  checkRow({ pattern: { ['a.'.repeat(63) + 'a']: 1 }, yes: [nest(64, 1)], no: [nest(63, 1)] });
  checkRefused(nest(65, [1]), tooDeep);
  checkRefused(nest(64, {}), tooDeep);
  checkRefused(nest(100_000, [1]), tooDeep);
  checkRefused({ ['a.'.repeat(64) + 'a']: 1 }, tooDeep);
  checkRefused({ ['a.'.repeat(100_000) + 'a']: 1 }, tooDeep);
  let alternatives: unknown = { a: 1 };
  for (let level = 0; level < 64; level++) alternatives = { $or: [alternatives] };
  checkRefused(alternatives, /is too deep/);
  const cyclic: Record<string, unknown> = {};
  cyclic['a'] = cyclic;
  checkRefused(cyclic, tooDeep);
});

test('a pattern is read once: what happens to it afterwards changes nothing', () => {
  const pattern = { a: ['x', { numeric: ['>', 5] }], $or: [{ b: 1 }] };
  const matches = compileEventBridge(pattern);
  pattern.a.length = 0;
  pattern.$or.length = 0;
  assert.equal(matches({ a: 'x', b: 1 }), true);
  assert.equal(matches({ a: 6, b: 1 }), true);
  assert.equal(matches({ a: 6 }), false);
});

test('only own fields of an event count', () => {
  for (const key of ['__proto__', 'constructor', 'toString', 'hasOwnProperty', 'constructor.name', '__proto__.a']) {
    const pattern = JSON.parse(`{"${key}": [{"exists": true}]}`) as unknown;
    checkRow({ pattern, yes: [JSON.parse(`{"${key}": 1}`)], no: [{}, { a: 1 }, [], 'text', null, () => 1] });
  }
  const inherited = Object.create({ a: 1 }) as unknown;
  checkRow({ pattern: { a: 1 }, yes: [{ a: 1 }], no: [inherited] });
  checkRow({ pattern: { a: [{ exists: false }] }, yes: [inherited, Object.create(null)], no: [] });
  checkRow({
    pattern: JSON.parse('{"__proto__": {"admin": [true]}}'),
    yes: [JSON.parse('{"__proto__": {"admin": true}}')],
    no: [{ admin: true }, {}],
  });
  checkRow({ pattern: { length: 1 }, yes: [{ length: 1 }], no: [['x'], 'x'] });
  assert.equal(({} as { admin?: boolean }).admin, undefined);
});

test('deep and wide events do not exhaust the stack', () => {
  const deepList = JSON.parse('['.repeat(100_000) + '7' + ']'.repeat(100_000)) as unknown;
  checkRow(rowOfField([7], [deepList], []));
  checkRow(rowOfField([8], [], [deepList]));
  checkRow(rowOfField([{ exists: false }], [JSON.parse('['.repeat(100_000) + ']'.repeat(100_000))], [deepList]));
  const deepObject = JSON.parse('{"a":'.repeat(100_000) + '1' + '}'.repeat(100_000)) as unknown;
  checkRow({ pattern: nest(64, [1]), yes: [], no: [deepObject] });
  checkRow({ pattern: nest(64, [{ exists: false }]), yes: [deepObject], no: [] });
  const wide = Array.from({ length: 100_000 }, (_, b) => [{ b }]);
  checkRow({ pattern: { a: { b: [99_999] } }, yes: [{ a: wide }], no: [] });
  checkRow({ pattern: { a: { b: [100_000] } }, yes: [], no: [{ a: wide }] });
});

test('wildcards of many stars end on long texts', () => {
  const text = 'a'.repeat(100_000);
  const stars = 'a*'.repeat(50);
  checkRow({ pattern: { a: [{ wildcard: stars }] }, yes: [{ a: text }], no: [] });
  checkRow({ pattern: { a: [{ wildcard: stars + 'b' }] }, yes: [], no: [{ a: text }] });
  checkRow({ pattern: { a: [{ wildcard: '*' + stars + 'b*' }] }, yes: [], no: [{ a: text }] });
  checkRow({ pattern: { a: [{ wildcard: '*' + 'aab*'.repeat(50) }] }, yes: [], no: [{ a: text }] });
  checkRow({ pattern: { a: [{ wildcard: '*' + 'aab*'.repeat(50) }] }, yes: [{ a: 'aab'.repeat(50) }], no: [] });
  // The worst that there is for a search that starts again after each failure.
  const long = `${'a'.repeat(100)}b${'a'.repeat(50_000)}`;
  checkRow({ pattern: { a: [{ wildcard: `*${long}*` }] }, yes: [], no: [{ a: text }] });
  checkRow({ pattern: { a: [{ wildcard: `*${long}*` }] }, yes: [{ a: text + long + text }], no: [] });
});

test('a pattern of thirty fields accepts the document that satisfies them all, and no other', () => {
  const kinds: [unknown, unknown, unknown][] = [
    ['text', 'text', 'other'],
    [[1, 2, 3], 2, 4],
    [[null], null, 0],
    [[true, false], false, 'false'],
    [[{ prefix: 'run-' }], 'run-7', 'walk-7'],
    [[{ prefix: { 'equals-ignore-case': 'RUN-' } }], 'run-7', '7'],
    [[{ suffix: '.h5' }], 'scan.h5', 'scan.tif'],
    [[{ suffix: { 'equals-ignore-case': '.H5' } }], 'scan.h5', 'h5'],
    [[{ 'equals-ignore-case': 'Beam' }], 'bEAM', 'beams'],
    [[{ 'anything-but': 'idle' }], 'busy', 'idle'],
    [[{ 'anything-but': ['idle', 'off'] }], 'busy', 'off'],
    [[{ 'anything-but': { prefix: 'i' } }], 'busy', 'idle'],
    [[{ numeric: ['=', 4] }], 4.0, 5],
    [[{ numeric: ['>', 0, '<=', 5] }], 5, 0],
    [[{ exists: true }], 'here', undefined],
    [[{ exists: false }], undefined, 'here'],
    [[{ wildcard: 'a*c*' }], 'a.b.c.d', 'b.c'],
    [[{ prefix: 'x' }, { suffix: 'z' }], 'yz', 'y'],
    [[{ exists: false }, { numeric: ['<', 1] }], 0, 2],
    [{ inner: [1] }, { inner: 1 }, { inner: 2 }],
    [{ inner: { leaf: [{ exists: true }] } }, { inner: { leaf: 0 } }, { inner: {} }],
    [{ 'a.b': ['x'] }, { a: { b: 'x' } }, { a: 'x' }],
    [[{ cidr: '10.0.0.0/8' }], '10.1.2.3', '11.1.2.3'],
    [[-1.5], -1.5, 1.5],
    [['ä'], 'ä', 'a'],
    [[{ wildcard: '*' }], '', 1],
    [[{ numeric: ['>=', -1, '<', 1] }], -1, 1],
    [['x', { prefix: 'y' }], 'yes', 'no'],
    [[{ 'anything-but': [1, 'one'] }], null, 1],
    [[''], '', ' '],
  ];
  const fields = kinds.map((_, index) => `field${index}`);
  const object = (column: 0 | 1): Record<string, unknown> =>
    Object.fromEntries(kinds.map((kind, index) => [fields[index], kind[column]]));
  const matches = compileEventBridge(object(0));
  assert.equal(matches(object(1)), true);
  kinds.forEach(([pattern, , other], index) => {
    assert.equal(matches({ ...object(1), [fields[index] as string]: other }), false, inspect(pattern));
  });
});
