/**
 * The forms of schema-codec.ts (its header has the grammar), as closures that write and read one value each.
 *
 * A codec is given values as jsonValue sees them, and refuses (throws a Refusal) what it cannot write exactly. From
 * bytes it accepts what it could have written, and refuses everything else.
 */
import type { ByteReader } from './byte-reader.js';
import type { ByteWriter } from './byte-writer.js';
import { canonicalText, isObject, jsonText, jsonValue, setOwn } from './json-value.js';
import { located, mustBe, Refusal, show } from './refusal.js';

/** How the values of one schema are coded. */
export interface ValueCodec {
  /** No value takes fewer. */
  readonly bytesMin: number;
  encode(writer: ByteWriter, value: unknown): void;
  decode(reader: ByteReader): unknown;
}

/** A property that the schema names. */
export interface Field {
  readonly name: string;
  readonly required: boolean;
  readonly codec: ValueCodec;
}

function parse(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch (error) {
    throw new Refusal(`has text that is not JSON: ${(error as Error).message}`, error);
  }
}

/** The fewest bytes that hold an unsigned integer. */
function bytesFor(value: number): number {
  let bytes = 0;
  for (let rest = value; rest > 0; rest = Math.floor(rest / 256)) bytes++;
  return bytes;
}

export const jsonCodec: ValueCodec = {
  // No JSON text is empty.
  bytesMin: 2,
  encode: (writer, value) => writer.text(jsonText(value)),
  decode: (reader) => parse(reader.text()),
};

export const nullCodec: ValueCodec = {
  bytesMin: 0,
  encode: (_writer, value) => {
    if (value !== null) throw mustBe('null', value);
  },
  decode: () => null,
};

function decodeFlag(reader: ByteReader): boolean {
  const byte = reader.byte();
  if (byte > 1) throw new Refusal(`must have a byte of 0 or 1, not ${byte}`);
  return byte === 1;
}

export const booleanCodec: ValueCodec = {
  bytesMin: 1,
  encode: (writer, value) => {
    if (typeof value !== 'boolean') throw mustBe('a boolean', value);
    writer.byte(value ? 1 : 0);
  },
  decode: decodeFlag,
};

export const numberCodec: ValueCodec = {
  bytesMin: 8,
  encode: (writer, value) => {
    if (typeof value !== 'number' || !Number.isFinite(value)) throw mustBe('a finite number', value);
    writer.float64(value);
  },
  decode: (reader) => reader.float64(),
};

export const integerCodec: ValueCodec = {
  bytesMin: 1,
  encode: (writer, value) => {
    if (!Number.isSafeInteger(value)) throw mustBe('a safe integer', value);
    writer.zigzag(value as number);
  },
  decode: (reader) => reader.zigzag(),
};

export const stringCodec: ValueCodec = {
  bytesMin: 1,
  encode: (writer, value) => {
    if (typeof value !== 'string') throw mustBe('a string', value);
    writer.text(value);
  },
  decode: (reader) => reader.text(),
};

/** Integers of low to high; both are safe, and so is their difference, which is not negative. */
export function boundedCodec(low: number, high: number): ValueCodec {
  const size = bytesFor(high - low);
  const rule = `an integer from ${low} to ${high}`;
  return {
    bytesMin: size,
    encode: (writer, value) => {
      if (!Number.isInteger(value) || (value as number) < low || (value as number) > high) throw mustBe(rule, value);
      writer.uint((value as number) - low, size);
    },
    decode: (reader) => {
      const offset = reader.uint(size);
      if (offset > high - low) throw new Refusal(`must be ${rule}, but has the offset ${offset}`);
      return low + offset;
    },
  };
}

function isReference(value: unknown): value is object {
  return typeof value === 'object' && value !== null;
}

/** Gives a JSON value again and again; objects and arrays as copies, since their receivers may change them. */
function supply(value: unknown): () => unknown {
  if (!isReference(value)) return () => value;
  const text = JSON.stringify(value);
  return () => JSON.parse(text);
}

/** One of several JSON values, at least one; of equal ones the first counts. A const is an enum of one. */
export function enumCodec(members: readonly unknown[]): ValueCodec {
  // Strings cannot be mistaken for the texts of objects: those have a map of their own.
  const primitives = new Map<unknown, number>();
  const texts = new Map<string, number>();
  const indexIn = (value: unknown): number | undefined =>
    isReference(value) ? texts.get(canonicalText(parse(jsonText(value)))) : primitives.get(value);
  for (const [index, member] of members.entries()) {
    if (indexIn(member) !== undefined) continue;
    if (isReference(member)) texts.set(canonicalText(member), index);
    else primitives.set(member, index);
  }
  const size = bytesFor(members.length - 1);
  const supplies = members.map((value, index) => (indexIn(value) === index ? supply(value) : undefined));
  const rule = members.length === 1 ? show(members[0]) : `one of the ${members.length} values of the enum`;
  return {
    bytesMin: size,
    encode: (writer, value) => {
      const index = indexIn(value);
      if (index === undefined) throw mustBe(rule, value);
      writer.uint(index, size);
    },
    decode: (reader) => {
      const index = reader.uint(size);
      const next = supplies[index];
      if (next === undefined) throw new Refusal(`must be ${rule}, but has the index ${index}`);
      return next();
    },
  };
}

export function nullableCodec(codec: ValueCodec): ValueCodec {
  return {
    bytesMin: 1,
    encode: (writer, value) => {
      writer.byte(value === null ? 0 : 1);
      if (value !== null) codec.encode(writer, value);
    },
    decode: (reader) => (decodeFlag(reader) ? codec.decode(reader) : null),
  };
}

/** Arrays of `item`, which takes at least one byte: so the bytes bound the count. `fixed`: the only length allowed. */
export function arrayCodec(item: ValueCodec, fixed: number | undefined): ValueCodec {
  return {
    bytesMin: fixed === undefined ? 1 : fixed * item.bytesMin,
    encode: (writer, value) => {
      if (!Array.isArray(value)) throw mustBe('an array', value);
      const count = value.length;
      if (fixed === undefined) writer.varint(count);
      else if (count !== fixed) throw new Refusal(`must have ${fixed} items, not ${count}`);
      let index = 0;
      try {
        for (; index < count; index++) item.encode(writer, jsonValue(value[index], index) ?? null);
      } catch (error) {
        throw located(error, index);
      }
    },
    decode: (reader) => {
      const count = fixed ?? reader.varint();
      if (count * item.bytesMin > reader.remaining) {
        throw new Refusal(`the bytes end early: ${count} items cannot be in the ${reader.remaining} that are left`);
      }
      const items: unknown[] = [];
      try {
        while (items.length < count) items.push(item.decode(reader));
      } catch (error) {
        throw located(error, items.length);
      }
      return items;
    },
  };
}

/** Objects. `open`: they may have properties besides the fields. */
class ObjectCodec implements ValueCodec {
  readonly bytesMin: number;
  readonly #fields: readonly Field[];
  readonly #open: boolean;
  /** Position of each field by name. */
  readonly #slots: ReadonlyMap<string, number>;
  /** Positions of the fields that have a bit of presence, in the order of their bits. */
  readonly #optional: readonly number[];

  constructor(fields: readonly Field[], open: boolean) {
    this.#fields = fields;
    this.#open = open;
    this.#slots = new Map(fields.map(({ name }, slot) => [name, slot]));
    this.#optional = [...fields.keys()].filter((slot) => !fields[slot]!.required);
    const required = fields.filter((field) => field.required);
    const fixed = Math.ceil(this.#optional.length / 8) + (open ? 1 : 0);
    this.bytesMin = required.reduce((sum, { codec }) => sum + codec.bytesMin, fixed);
  }

  encode(writer: ByteWriter, value: unknown): void {
    if (!isObject(value)) throw mustBe('an object', value);
    const found = new Array<unknown>(this.#fields.length).fill(undefined);
    const rest = this.#sort(value, found);
    this.#encodePresence(writer, found);
    let slot = 0;
    try {
      for (; slot < found.length; slot++) {
        const { codec, required } = this.#fields[slot]!;
        if (found[slot] !== undefined) codec.encode(writer, found[slot]);
        else if (required) throw new Refusal('is required');
      }
    } catch (error) {
      throw located(error, this.#fields[slot]!.name);
    }
    if (!this.#open) return;
    const text = rest === undefined ? '{}' : jsonText(rest);
    writer.text(text === '{}' ? '' : text);
  }

  /** Puts the fields of `value` into `found`; returns its other properties. Each is read once. */
  #sort(value: Record<string, unknown>, found: unknown[]): Record<string, unknown> | undefined {
    let rest: Record<string, unknown> | undefined;
    for (const name of Object.keys(value)) {
      const slot = this.#slots.get(name);
      if (slot !== undefined) {
        found[slot] = jsonValue(value[name], name);
      } else if (this.#open) {
        // Without a prototype, __proto__ is a name like any other.
        rest ??= Object.create(null) as Record<string, unknown>;
        rest[name] = value[name];
      } else if (jsonValue(value[name], name) !== undefined) {
        throw new Refusal('is not a property that the schema allows').within(name);
      }
    }
    return rest;
  }

  #encodePresence(writer: ByteWriter, found: readonly unknown[]): void {
    const optional = this.#optional;
    for (let first = 0; first < optional.length; first += 8) {
      let bits = 0;
      for (let i = first; i < optional.length && i < first + 8; i++) {
        if (found[optional[i]!] !== undefined) bits |= 1 << (i - first);
      }
      writer.byte(bits);
    }
  }

  decode(reader: ByteReader): unknown {
    const presence = reader.bits(this.#optional.length);
    const value: Record<string, unknown> = {};
    let slot = 0;
    let bit = 0;
    try {
      for (; slot < this.#fields.length; slot++) {
        const { name, codec, required } = this.#fields[slot]!;
        if (required || reader.bitAt(presence, bit++)) setOwn(value, name, codec.decode(reader));
      }
    } catch (error) {
      throw located(error, this.#fields[slot]!.name);
    }
    if (this.#open) this.#decodeRest(reader, value);
    return value;
  }

  #decodeRest(reader: ByteReader, value: Record<string, unknown>): void {
    const text = reader.text();
    if (text === '') return;
    const rest = parse(text);
    const names = isObject(rest) ? Object.keys(rest) : [];
    if (!isObject(rest) || names.length === 0)
      throw new Refusal('has additional properties that are not an object of some');
    for (const name of names) {
      if (this.#slots.has(name)) throw new Refusal('stands among the additional properties').within(name);
      setOwn(value, name, rest[name]);
    }
  }
}

/** Objects of `fields`, in their order. `open`: they may have other properties, too. */
export function objectCodec(fields: readonly Field[], open: boolean): ValueCodec {
  return new ObjectCodec(fields, open);
}
