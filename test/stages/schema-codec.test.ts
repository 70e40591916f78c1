/**
 * The schema codec: golden bytes of each form, refusals with their path, and randomized schemas, values and damage.
 * DIASPORA_SEED repeats a run.
 */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { DiasporaError } from '../../lib/errors.js';
import { type Codec, compileSchemaCodec } from '../../lib/stages/schema-codec.js';
import { seed } from '../support/random.js';
import { RandomSchemas } from './random-schemas.js';

const closed = { type: 'object', additionalProperties: false };

const percent = { type: 'integer', minimum: 0, maximum: 99 };
const open = { type: 'object', properties: { a: { type: 'boolean' } } };

/** An object whose `energy` must be there and is the only property. */
function of(schema: unknown): unknown {
  return { ...closed, properties: { energy: schema }, required: ['energy'] };
}

function hexOf(bytes: Uint8Array): string {
  return Buffer.from(bytes).toString('hex');
}

function bytesOf(hex: string): Uint8Array {
  return Uint8Array.from(Buffer.from(hex.replaceAll(' ', ''), 'hex'));
}

function encodeHex(schema: unknown, value: unknown): string {
  return hexOf(compileSchemaCodec(schema).encode(value));
}

/** JSON as text of the grammar: its length in one byte, then itself. */
function textHex(text: string): string {
  return Buffer.concat([Buffer.of(Buffer.byteLength(text)), Buffer.from(text)]).toString('hex');
}

function likeJson(value: unknown): unknown {
  return JSON.parse(JSON.stringify(value));
}

function refused(pattern: RegExp): (error: unknown) => boolean {
  return (error) => {
    assert(error instanceof DiasporaError, String(error));
    assert.equal(error.code, 'INVALID_METADATA');
    assert.match(error.message, pattern);
    return true;
  };
}

const golden: readonly (readonly [schema: unknown, value: unknown, hex: string])[] = [
  // The example of the header.
  [
    { ...closed, properties: { energy: { type: 'integer', minimum: 0, maximum: 99 } }, required: ['energy'] },
    { energy: 42 },
    '2a',
  ],
  // Bounded integers.
  [{ type: 'integer', minimum: 7, maximum: 7 }, 7, ''],
  [{ type: 'integer', minimum: -5, maximum: 250 }, -5, '00'],
  [{ type: 'integer', minimum: -5, maximum: 250 }, 250, 'ff'],
  [{ type: 'integer', minimum: -5, maximum: 251 }, 251, '0001'],
  [{ type: 'integer', exclusiveMinimum: 0, exclusiveMaximum: 257 }, 256, 'ff'],
  [{ type: 'integer', minimum: 0.5, maximum: 255.5 }, 1, '00'],
  [{ type: 'integer', minimum: 0, exclusiveMinimum: 9.5, maximum: 300, exclusiveMaximum: 20 }, 19, '09'],
  [{ type: 'integer', minimum: 0, maximum: 0xffffffff }, 0x12345678, '78563412'],
  [{ type: 'integer', minimum: 0, maximum: 2 ** 53 - 1 }, 2 ** 53 - 1, 'ffffffffffff1f'],
  [{ type: 'integer', minimum: -(2 ** 52), maximum: 2 ** 52 - 1 }, 2 ** 52 - 1, 'ffffffffffff1f'],
  // A range of 2^53, and no range: zigzag varints.
  [{ type: 'integer', minimum: -(2 ** 52), maximum: 2 ** 52 }, -1, '01'],
  [{ type: 'integer', minimum: 0, maximum: 1e300 }, 1, '02'],
  [{ type: 'integer', minimum: 5, maximum: 4 }, 1, '02'],
  [{ type: 'integer', minimum: 3 }, 3, '06'],
  [{ type: 'integer' }, 0, '00'],
  [{ type: 'integer' }, -0, '00'],
  [{ type: 'integer' }, 63, '7e'],
  [{ type: 'integer' }, -64, '7f'],
  [{ type: 'integer' }, 64, '8001'],
  [{ type: 'integer' }, -65, '8101'],
  [{ type: 'integer' }, 300, 'd804'],
  [{ type: 'integer' }, 2 ** 53 - 1, 'feffffffffffff1f'],
  [{ type: 'integer' }, -(2 ** 53 - 1), 'fdffffffffffff1f'],
  // Other primitives.
  [{ type: 'number' }, 1.5, '000000000000f83f'],
  [{ type: 'number' }, -0, '0000000000000000'],
  [{ type: 'boolean' }, true, '01'],
  [{ type: 'boolean' }, false, '00'],
  [{ type: 'null' }, null, ''],
  [{ type: ['null'] }, null, ''],
  [{ type: 'string' }, '', '00'],
  [{ type: 'string' }, 'abc', '03616263'],
  [{ type: ['string'] }, 'a', '0161'],
  [{ type: 'string' }, '\u00e9\u20ac\u{1f600}\ufeff', '0cc3a9e282acf09f9880efbbbf'],
  [{ type: 'string' }, 'x'.repeat(200), `c801${'78'.repeat(200)}`],
  // Constants.
  [{ const: { a: [1, null] } }, { a: [1, null] }, ''],
  [{ const: null }, null, ''],
  [{ enum: ['only'] }, 'only', ''],
  [{ type: 'string', enum: ['a', 'b', 'c'] }, 'c', '02'],
  [{ enum: [1, '1', null, { x: 1, y: 2 }, [1], '{"x":1}'] }, { y: 2, x: 1 }, '03'],
  [{ enum: [1, 1, 2] }, 1, '00'],
  [{ enum: Array.from({ length: 256 }, (_, n) => n) }, 255, 'ff'],
  [{ enum: Array.from({ length: 257 }, (_, n) => n) }, 1, '0100'],
  // Null or another type.
  [{ type: ['integer', 'null'] }, null, '00'],
  [{ type: ['null', 'integer'] }, -1, '0101'],
  [{ type: 'integer', nullable: true }, null, '00'],
  // Arrays.
  [{ type: 'array', items: { type: 'boolean' } }, [true, false], '020100'],
  [{ type: 'array', items: { type: 'boolean' }, minItems: 2, maxItems: 2 }, [true, false], '0100'],
  [{ type: 'array', items: { type: ['boolean', 'null'] } }, [undefined, true], '02000101'],
  [{ type: 'array', items: { type: 'boolean' }, minItems: 1 }, [true], '0101'],
  [{ type: 'array', items: { $id: 'other', type: 'boolean' } }, [true], `01${textHex('true')}`],
  [{ $id: 'https://example.com/root', type: 'array', items: { $id: '#anchor', type: 'boolean' } }, [true], '0101'],
  // Objects: sorted names, presence, rest.
  [
    { ...closed, properties: { b: { type: 'boolean' }, a: { type: 'integer' } }, required: ['a', 'b'] },
    { b: true, a: 1 },
    '0201',
  ],
  [{ ...closed, properties: { b: { type: 'boolean' }, a: { type: 'integer' } } }, { b: true }, '0201'],
  [
    { ...closed, properties: { b: { type: 'boolean' }, a: { type: 'integer' } }, required: ['b'] },
    { b: true, a: undefined },
    '0001',
  ],
  [
    { ...closed, properties: Object.fromEntries([...'abcdefghi'].map((name) => [name, { type: 'null' }])) },
    { a: null, i: null },
    '0101',
  ],
  [closed, {}, ''],
  [{ type: 'object' }, {}, '00'],
  [{ type: 'object' }, { z: 1 }, textHex('{"z":1}')],
  [
    { type: 'object', properties: { a: { type: 'integer' } }, required: ['a'] },
    { z: 1, a: 1 },
    `02${textHex('{"z":1}')}`,
  ],
  [{ ...closed, patternProperties: { '^x': true } }, { x: 1 }, textHex('{"x":1}')],
  // References.
  [{ $ref: '#/$defs/x', $defs: { x: { type: 'boolean' } } }, true, '01'],
  [
    { type: 'array', items: { $ref: '#/definitions/a~1b~0%20' }, definitions: { 'a/b~ ': { type: 'boolean' } } },
    [true],
    '0101',
  ],
];

test('golden bytes', () => {
  for (const [schema, value, hex] of golden) {
    const codec = compileSchemaCodec(schema);
    const what = `${JSON.stringify(schema).slice(0, 100)} ${JSON.stringify(value)}`;
    assert.equal(hexOf(codec.encode(value)), hex, what);
    assert.deepEqual(codec.decode(bytesOf(hex)), likeJson(value), what);
  }
});

test('what the encoding does not cover is JSON', () => {
  const boolean = { type: 'boolean' };
  const schemas: unknown[] = [
    {},
    { type: ['string', 'integer', 'null'] },
    { type: ['array', 'null'] },
    { anyOf: [boolean] },
    { type: 'boolean', oneOf: [boolean] },
    { allOf: [boolean] },
    { $ref: 'https://example.com/schema' },
    { $ref: '#' },
    { $ref: '#anchor' },
    { type: 'array' },
    { type: 'array', items: [boolean] },
    { type: 'array', items: boolean, prefixItems: [boolean] },
    { type: 'array', items: { type: 'null' } },
    { type: 'array', items: closed, minItems: 1, maxItems: 1 },
    { $ref: '#/$defs/x', $defs: { x: { $ref: '#/$defs/x' } } },
    { $ref: '#/$defs/x', $defs: { x: { $id: 'https://example.com/x', type: 'boolean' } } },
    { $ref: '#/$defs/x/$defs/y', $defs: { x: { $id: 'other', $defs: { y: boolean } } } },
    { $ref: '#/$defs/x', $defs: { x: true } },
  ];
  for (const schema of schemas) {
    const value = [1, { '\ud800': null }, 'x'];
    const codec = compileSchemaCodec(schema);
    assert.equal(hexOf(codec.encode(value)), textHex(JSON.stringify(value)), JSON.stringify(schema));
    assert.deepEqual(codec.decode(codec.encode(value)), value);
  }
});

test('a recursive schema is JSON from where it comes back to itself', () => {
  const node = {
    ...closed,
    properties: { value: { type: 'boolean' }, children: { type: 'array', items: { $ref: '#/$defs/node' } } },
    required: ['value', 'children'],
  };
  const inner = { value: false, children: [] };
  const schema = { $ref: '#/$defs/node', $defs: { node } };
  assert.equal(encodeHex(schema, { value: true, children: [inner] }), `01${textHex(JSON.stringify(inner))}01`);
});

test('a reference to the same schema from two places is not recursive', () => {
  const point = { ...closed, properties: { x: { type: 'boolean' } }, required: ['x'] };
  const to = { $ref: '#/$defs/point' };
  const schema = { ...closed, properties: { a: to, b: to }, required: ['a', 'b'], $defs: { point } };
  assert.equal(encodeHex(schema, { a: { x: true }, b: { x: false } }), '0100');
});

/** `levels` arrays around `inner`. */
function nest(levels: number, inner: unknown, wrap: (value: unknown) => unknown): unknown {
  return levels === 0 ? inner : wrap(nest(levels - 1, inner, wrap));
}

test('a schema is followed for 64 steps, and JSON below', () => {
  const wrap = (items: unknown): unknown => ({ type: 'array', items, minItems: 1, maxItems: 1 });
  const array = (item: unknown): unknown => [item];
  assert.equal(encodeHex(nest(64, { type: 'boolean' }, wrap), nest(64, true, array)), '01');
  assert.equal(encodeHex(nest(65, { type: 'boolean' }, wrap), nest(65, true, array)), textHex('true'));
});

test('references that fan out make the root JSON, soon', () => {
  const $defs: Record<string, unknown> = { d0: { type: 'null' } };
  for (let n = 1; n <= 40; n++) {
    const to = { $ref: `#/$defs/d${n - 1}` };
    $defs[`d${n}`] = { ...closed, properties: { a: to, b: to }, required: ['a', 'b'] };
  }
  assert.equal(encodeHex({ $ref: '#/$defs/d40', $defs }, 1), textHex('1'));
  assert.throws(() => encodeHex({ $ref: '#/$defs/d9', $defs }, 1), refused(/^metadata: must be an object, not 1$/));
});

test('the order of the keys in the stored schema does not matter', () => {
  const one = {
    properties: { a: { type: 'integer' }, B: { type: 'null' }, '\uffff': {}, '\u{1f600}': {} },
    type: 'object',
  };
  const properties = Object.fromEntries(Object.entries(one.properties).reverse());
  const value = { a: 1, B: null, '\uffff': 2, '\u{1f600}': 3 };
  assert.equal(encodeHex(one, value), encodeHex({ type: 'object', properties }, value));
  assert.equal(encodeHex(one, value), `0f02${textHex('3')}${textHex('2')}00`, 'UTF-16 code units, not code points');
});

const misfits: readonly (readonly [schema: unknown, value: unknown, message: string])[] = [
  [of(percent), { energy: 100 }, 'metadata.energy: must be an integer from 0 to 99, not 100'],
  [of(percent), { energy: -1 }, 'metadata.energy: must be an integer from 0 to 99, not -1'],
  [of(percent), { energy: 1.5 }, 'metadata.energy: must be an integer from 0 to 99, not 1.5'],
  [of(percent), { energy: '7' }, 'metadata.energy: must be an integer from 0 to 99, not "7"'],
  [of(percent), { energy: 7n }, 'metadata.energy: must be an integer from 0 to 99, not 7'],
  [of(percent), {}, 'metadata.energy: is required'],
  [of(percent), { energy: undefined }, 'metadata.energy: is required'],
  [of(percent), Object.create({ energy: 1 }), 'metadata.energy: is required'],
  [of(percent), Object.defineProperty({}, 'energy', { value: 1 }), 'metadata.energy: is required'],
  [of(percent), { energy: 1, other: 2 }, 'metadata.other: is not a property that the schema allows'],
  [of(percent), { energy: 1, 'a b': 2 }, 'metadata["a b"]: is not a property that the schema allows'],
  [of(percent), [], 'metadata: must be an object, not an array'],
  [of(percent), undefined, 'metadata: must be an object, not undefined'],
  [of(percent), new Date(0), 'metadata: must be an object, not "1970-01-01T00:00:00.000Z"'],
  [of({ type: 'integer' }), { energy: 2 ** 53 }, 'metadata.energy: must be a safe integer, not 9007199254740992'],
  [of({ type: 'integer' }), { energy: 0.5 }, 'metadata.energy: must be a safe integer, not 0.5'],
  [of({ type: 'number' }), { energy: Number.NaN }, 'metadata.energy: must be a finite number, not NaN'],
  [of({ type: 'number' }), { energy: -Infinity }, 'metadata.energy: must be a finite number, not -Infinity'],
  [of({ type: 'number' }), { energy: null }, 'metadata.energy: must be a finite number, not null'],
  [of({ type: 'boolean' }), { energy: 0 }, 'metadata.energy: must be a boolean, not 0'],
  [of({ type: 'null' }), { energy: 0 }, 'metadata.energy: must be null, not 0'],
  [of({ type: 'string' }), { energy: 5 }, 'metadata.energy: must be a string, not 5'],
  [of({ type: 'string' }), { energy: 'a\ud800' }, 'metadata.energy: must not have unpaired surrogates'],
  [of({ type: 'string' }), { energy: `${'a'.repeat(99)}\udc00` }, 'metadata.energy: must not have unpaired surrogates'],
  [of({ const: 'x' }), { energy: 'y' }, 'metadata.energy: must be "x", not "y"'],
  [of({ enum: [1, '2'] }), { energy: 2 }, 'metadata.energy: must be one of the 2 values of the enum, not 2'],
  [
    of({ enum: [{}, 1] }),
    { energy: { a: 1 } },
    'metadata.energy: must be one of the 2 values of the enum, not an object',
  ],
  [
    of({ enum: [{ a: 1 }, 2] }),
    { energy: '{"a":1}' },
    'metadata.energy: must be one of the 2 values of the enum, not "{\\"a\\":1}"',
  ],
  [of({ type: ['boolean', 'null'] }), { energy: 1 }, 'metadata.energy: must be a boolean, not 1'],
  [
    of({ type: 'array', items: percent }),
    { energy: [1, 100] },
    'metadata.energy[1]: must be an integer from 0 to 99, not 100',
  ],
  [of({ type: 'array', items: of(percent) }), { energy: [{}] }, 'metadata.energy[0].energy: is required'],
  [
    of({ type: 'array', items: percent }),
    { energy: { length: 0 } },
    'metadata.energy: must be an array, not an object',
  ],
  [
    of({ type: 'array', items: percent, minItems: 2, maxItems: 2 }),
    { energy: [1] },
    'metadata.energy: must have 2 items, not 1',
  ],
  [{}, undefined, 'metadata: must be a JSON value, not undefined'],
  [{}, () => 1, 'metadata: must be a JSON value, not undefined'],
  [{}, 1n, 'metadata: must be a JSON value, not a BigInt'],
];

test('what does not fit is refused, with path and rule', () => {
  for (const [schema, value, message] of misfits) {
    assert.throws(() => compileSchemaCodec(schema).encode(value), { code: 'INVALID_METADATA', message });
  }
});

test('what JSON cannot write is refused, with its cause', () => {
  const cyclic: Record<string, unknown> = {};
  cyclic['self'] = cyclic;
  assert.throws(
    () => encodeHex({ type: 'object' }, cyclic),
    refused(/^metadata: cannot be written as JSON: .*circular/),
  );
  const noBeam = new Error('no beam');
  const failing = {
    get energy(): number {
      throw noBeam;
    },
  };
  const schema = { ...closed, properties: { energy: { type: 'number' } } };
  assert.throws(() => encodeHex(schema, failing), { code: 'INVALID_METADATA', message: /no beam/, cause: noBeam });
});

test('malformed schemas are INVALID_ARGUMENT, with the place', () => {
  const cases: readonly (readonly [schema: unknown, message: RegExp])[] = [
    [undefined, /it must be an object/],
    [true, /it must be an object/],
    [[], /it must be an object/],
    ['{}', /it must be an object/],
    [{ type: 'float' }, /#\/type must be the name of a type/],
    [{ type: [] }, /#\/type must be/],
    [{ enum: [] }, /#\/enum must be an array with at least one/],
    [{ anyOf: {} }, /#\/anyOf must be/],
    [{ $ref: 1 }, /#\/\$ref must be a string/],
    [{ $ref: '#/$defs/none' }, /#\/\$ref points to #\/\$defs\/none, which is not there/],
    [{ $ref: '#/toString' }, /which is not there/],
    [{ $ref: '#/%' }, /is not a JSON pointer/],
    [{ $ref: '#/$defs/x', $defs: { x: 5 } }, /#\/\$defs\/x must be an object/],
    [{ type: 'object', properties: [] }, /#\/properties must be an object/],
    [{ type: 'object', properties: { a: null } }, /#\/properties\/a must be an object/],
    [{ type: 'object', properties: { a: { minimum: '1' } } }, /#\/properties\/a\/minimum must be a number/],
    [{ type: 'object', required: 'a' }, /#\/required must be an array of names/],
    [{ type: 'object', additionalProperties: null }, /#\/additionalProperties must be a schema/],
    [{ type: 'integer', exclusiveMinimum: true }, /#\/exclusiveMinimum must be a number/],
    [{ type: 'array', items: 1 }, /#\/items must be a schema/],
    [{ type: 'array', items: { type: 1 } }, /#\/items\/type must be/],
    [{ type: 'array', minItems: -1 }, /#\/minItems must be an integer of at least 0/],
    [{ const: 1n }, /cannot be written as JSON/],
  ];
  for (const [schema, message] of cases) {
    assert.throws(() => compileSchemaCodec(schema), { code: 'INVALID_ARGUMENT', message }, String(message));
  }
});

const foreignBytes: readonly (readonly [schema: unknown, hex: string, message: RegExp])[] = [
  [
    of({ type: 'integer', minimum: 0, maximum: 99 }),
    '64',
    /^metadata\.energy: must be an integer from 0 to 99, but has the offset 100$/,
  ],
  [of({ type: 'integer', minimum: 0, maximum: 99 }), '', /^metadata\.energy: the bytes end early: 1 needed, 0 left$/],
  [of({ type: 'integer', minimum: 0, maximum: 99 }), '0000', /^metadata: 1 bytes are left over$/],
  [{ type: 'integer', minimum: 0, maximum: 2 ** 53 - 1 }, 'ffffffffffffff', /has the offset/],
  [{ type: 'integer' }, '8000', /longer than it needs/],
  [{ type: 'integer' }, '808000', /longer than it needs/],
  [{ type: 'integer' }, 'ffffffffffffff1f', /not a safe integer/],
  [{ type: 'integer' }, 'ffffffffffffffffff01', /has a varint/],
  [{ type: 'string' }, 'ffffffffffffffff7f', /more than 8 bytes/],
  [{ type: 'string' }, 'ffffffffffffff7f', /not a safe integer/],
  [{ type: 'string' }, 'ffffffffffffff0f', /the bytes end early/],
  [{ type: 'string' }, '0361', /the bytes end early: 3 needed, 1 left/],
  [{ type: 'string' }, '02c328', /not UTF-8/],
  [{ type: 'string' }, '03eda080', /not UTF-8/],
  [{ type: 'number' }, '000000000000f07f', /finite/],
  [{ type: 'number' }, '0000000000000080', /not -0/],
  [{ type: 'number' }, '00000000000000', /8 needed, 7 left/],
  [{ type: 'boolean' }, '02', /0 or 1/],
  [{ type: ['boolean', 'null'] }, '02', /0 or 1/],
  [{ enum: [1, 2, 3] }, '03', /but has the index 3/],
  [{ enum: [1, 1] }, '01', /but has the index 1/],
  [{ const: 1 }, '00', /left over/],
  [
    of({ type: 'array', items: { type: 'number' } }),
    'ffffffff0f00',
    /^metadata\.energy: the bytes end early: 4294967295 items/,
  ],
  [{ type: 'array', items: { type: 'boolean' }, minItems: 1e9, maxItems: 1e9 }, '00', /1000000000 items/],
  [{ type: 'array', items: { type: ['number', 'null'] } }, '020001', /^metadata\[1\]: the bytes end early/],
  [open, '0200', /^metadata: has a bit that means nothing/],
  [open, '0005', /the bytes end early/],
  [open, `00${textHex('{"a":true}')}`, /^metadata\.a: stands among the additional properties/],
  [open, `00${textHex('[1]')}`, /not an object/],
  [open, `00${textHex('{}')}`, /not an object of some/],
  [open, `00${textHex('{"b"}')}`, /^metadata: has text that is not JSON/],
  [{}, '00', /not JSON/],
  [{}, textHex('\ufeff1'), /not JSON/],
];

test('bytes that encode does not write are refused, with the path', () => {
  for (const [schema, hex, message] of foreignBytes) {
    assert.throws(() => compileSchemaCodec(schema).decode(bytesOf(hex)), refused(message), String(message));
  }
});

test('a large claim of bytes that are not there allocates nothing', () => {
  const items = { ...closed, properties: { a: { type: 'string' } }, required: ['a'] };
  const codec = compileSchemaCodec({ type: 'array', items });
  const before = process.memoryUsage().heapUsed;
  for (let n = 0; n < 1000; n++) assert.throws(() => codec.decode(bytesOf('ffffffff0f01')), refused(/end early/));
  assert(process.memoryUsage().heapUsed - before < 64 << 20);
});

test('names of Object.prototype are names like any other', () => {
  const properties = JSON.parse('{"__proto__":{"type":"boolean"},"toString":{"type":"boolean"}}');
  const value = JSON.parse('{"__proto__":true,"toString":false,"constructor":1}');
  for (const schema of [
    { ...closed, properties, required: ['toString'] },
    { type: 'object', properties },
    { type: 'object' },
    {},
  ]) {
    const codec = compileSchemaCodec(schema);
    const { constructor: other, ...named } = value;
    const sent = (schema as { additionalProperties?: boolean }).additionalProperties === false ? named : value;
    const back = codec.decode(codec.encode(sent)) as object;
    assert.deepEqual(Object.entries(back).sort(), Object.entries(sent).sort());
    assert.equal(Object.getPrototypeOf(back), Object.prototype);
    assert(Object.hasOwn(back, '__proto__'));
    assert.equal(other, 1);
  }
  const codec = compileSchemaCodec({ type: 'object', properties });
  assert.deepEqual(codec.decode(codec.encode({})), {}, 'what is inherited is not there');
});

test('values are taken as JSON takes them', () => {
  class Reading {
    readonly energy = 3;
    readonly hidden = (): number => 1;
    get derived(): number {
      return 1;
    }
  }
  const properties = { energy: { type: 'integer' }, at: { type: 'string' }, list: { type: 'array', items: {} } };
  const codec = compileSchemaCodec({ type: 'object', properties });
  const values: unknown[] = [
    new Reading(),
    { energy: Object(5), at: Object('x'), list: [undefined, () => 1, Symbol('s'), Object(true), Number.NaN] },
    { at: new Date(0), other: new Date(1), [Symbol('s')]: 1 },
    { energy: { toJSON: (key: string) => key.length }, list: [{ toJSON: (key: string) => `item ${key}` }] },
    { toJSON: () => ({ energy: 1, toJSON: () => ({ energy: 2 }) }) },
    { list: [{ toJSON: () => ({ toJSON: () => 1, b: 2 }) }], rest: { toJSON: (key: string) => key } },
    { energy: undefined, at: () => 1, rest: undefined },
    // biome-ignore lint/suspicious/noSparseArray: holes are what is tested
    { list: [1, , 3] },
    Object.assign(Object.create(null), { energy: -0 }),
  ];
  for (const value of values) assert.deepEqual(codec.decode(codec.encode(value)), likeJson(value));
});

test('what encode returned holds until the next call, and decoded values share nothing', () => {
  const codec = compileSchemaCodec({ type: 'string' });
  const first = codec.encode('a');
  const kept = first.slice();
  const second = codec.encode('b');
  assert.equal(first.buffer, second.buffer, 'no copy');
  assert.deepEqual(codec.decode(kept), 'a');
  assert.equal(first.constructor, Uint8Array);

  const constant = compileSchemaCodec({ const: { list: [1] } });
  const one = constant.decode(new Uint8Array()) as { list: number[] };
  one.list.push(2);
  assert.deepEqual(constant.decode(new Uint8Array()), { list: [1] });
});

test('the buffer grows, shrinks, and is whole after a refusal', () => {
  const codec = compileSchemaCodec({ type: 'array', items: { type: 'string' } });
  const values = [
    ['x'.repeat(3_000_000), '\u00e9'.repeat(70_000)],
    [],
    Array.from({ length: 500 }, (_, n) => `item ${n}`),
  ];
  for (const value of values) {
    assert.deepEqual(codec.decode(codec.encode(value)), value);
    assert.throws(() => codec.encode([...value, 1]), refused(/must be a string/));
    assert.deepEqual(codec.decode(codec.encode(value)), value);
  }
  assert((codec.encode(['a']).buffer as ArrayBuffer).byteLength < 1 << 20, 'the large buffer is given back');
});

test('a value whose getter encodes with the same codec is not disturbed', () => {
  const codec: Codec = compileSchemaCodec({ type: 'array', items: { type: ['string', 'null'] } });
  const value = ['first', { toJSON: () => hexOf(codec.encode(['inner'])) }, 'last'];
  assert.deepEqual(codec.decode(codec.encode(value)), ['first', '0101 05 696e6e6572'.replaceAll(' ', ''), 'last']);
});

test('the schema may change after compiling', () => {
  const schema = {
    type: 'object',
    properties: { a: { type: 'boolean' } } as Record<string, unknown>,
    additionalProperties: false,
  };
  const codec = compileSchemaCodec(schema);
  schema.properties['b'] = { type: 'boolean' };
  assert.throws(() => codec.encode({ b: true }), refused(/^metadata\.b: is not a property/));
});

/** Runs `count` cases, each from its own seed, and says which one failed. */
function repeat(count: number, run: (random: RandomSchemas) => void): void {
  for (let n = 0; n < count; n++) {
    try {
      run(new RandomSchemas(seed * 10_007 + n));
    } catch (error) {
      throw new Error(`case ${n} of seed ${seed}`, { cause: error });
    }
  }
}

/** Decodes, or is refused; returns whether it decoded. */
function decodesOrRefuses(codec: Codec, bytes: Uint8Array): { value: unknown } | undefined {
  try {
    return { value: codec.decode(bytes) };
  } catch (error) {
    assert(refused(/^metadata/)(error));
    return undefined;
  }
}

test(`random values of random schemas come back, seed ${seed}`, () => {
  repeat(2000, (random) => {
    const { schema, value } = random.schema({ json: true });
    const codec = compileSchemaCodec(schema);
    for (let n = 0; n < 3; n++) {
      const sent = value();
      const bytes = codec.encode(sent).slice();
      assert.deepEqual(codec.decode(bytes), likeJson(sent), JSON.stringify({ schema, sent }));
      const other = compileSchemaCodec(random.shuffled(schema));
      assert.equal(hexOf(other.encode(random.shuffled(sent))).length, hexOf(bytes).length);
      assert.deepEqual(other.decode(bytes), likeJson(sent), 'keys of the schema in another order');
    }
  });
});

test(`values of other schemas come back or are refused, seed ${seed}`, () => {
  repeat(2000, (random) => {
    const { schema } = random.schema({ json: true });
    const sent = random.chance(0.5) ? random.schema({ json: true }).value() : random.anything();
    const codec = compileSchemaCodec(schema);
    let bytes: Uint8Array;
    try {
      bytes = codec.encode(sent);
    } catch (error) {
      assert(refused(/^metadata/)(error));
      return;
    }
    assert.deepEqual(codec.decode(bytes), likeJson(sent), JSON.stringify({ schema, sent }));
  });
});

test(`damaged bytes decode or are refused, seed ${seed}`, () => {
  repeat(2000, (random) => {
    const { schema, value } = random.schema({ json: true });
    const codec = compileSchemaCodec(schema);
    const bytes = codec.encode(value()).slice();
    for (let n = 0; n < 10; n++) {
      const decoded = decodesOrRefuses(codec, random.damaged(bytes));
      if (decoded !== undefined) assert.deepEqual(codec.decode(codec.encode(decoded.value)), likeJson(decoded.value));
    }
  });
});

test(`truncated bytes are refused, seed ${seed}`, () => {
  repeat(500, (random) => {
    const { schema, value } = random.schema({ json: true });
    const codec = compileSchemaCodec(schema);
    const bytes = codec.encode(value()).slice();
    for (let length = 0; length < bytes.length; length++) {
      assert.throws(() => codec.decode(bytes.subarray(0, length)), refused(/^metadata/));
    }
    assert.throws(() => codec.decode(Uint8Array.of(...bytes, 0)), refused(/^metadata/));
  });
});

test(`without JSON texts, a value has one encoding, seed ${seed}`, () => {
  repeat(2000, (random) => {
    const { schema, value } = random.schema({ json: false });
    const codec = compileSchemaCodec(schema);
    const bytes = codec.encode(value()).slice();
    for (let n = 0; n < 10; n++) {
      const damaged = random.damaged(bytes);
      const decoded = decodesOrRefuses(codec, damaged);
      if (decoded !== undefined)
        assert.equal(hexOf(codec.encode(decoded.value)), hexOf(damaged), JSON.stringify(schema));
    }
  });
});
