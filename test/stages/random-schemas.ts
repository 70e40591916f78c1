/**
 * Random JSON Schemas with values that fit them, and damaged bytes, for schema-codec.test.ts. Everything follows from
 * the seed.
 */
import { Random } from '../support/random.js';

/** A schema, and a source of values that it allows. */
export interface Sample {
  readonly schema: Record<string, unknown>;
  readonly value: () => unknown;
}

export interface SchemaOptions {
  /** Forms that are stored as JSON texts may be in it. */
  readonly json: boolean;
}

/** Levels of schemas; deeper ones say nothing new. */
const levelsMax = 4;

const names = ['a', 'b', 'energy', 'a b', '', '0', '10', '__proto__', 'toString', 'constructor', '\u00e9', '\u{1f600}'];
const texts = [
  '',
  'a',
  'detector',
  '\u00e9t\u00e9',
  '\u{1f600}',
  '\0',
  '"\\',
  'x'.repeat(130),
  '\ufeffb',
  '\u20ac'.repeat(60),
];
const edges = [0, 1, -1, 63, 64, -64, -65, 8191, 8192, 2 ** 31, -(2 ** 31), 2 ** 40, 2 ** 53 - 1, -(2 ** 53 - 1)];

/** An object of entries, with own properties whatever their names. */
function objectOf(entries: readonly (readonly [string, unknown])[]): Record<string, unknown> {
  return JSON.parse(`{${entries.map(([name, value]) => `${JSON.stringify(name)}:${JSON.stringify(value)}`).join()}}`);
}

export class RandomSchemas extends Random {
  #times<T>(count: number, make: () => T): T[] {
    return Array.from({ length: count }, make);
  }

  #integer(): number {
    return this.chance(0.5) ? this.pick(edges) : this.below(2000) - 1000;
  }

  #number(): number {
    return this.chance(0.5) ? this.#integer() : (this.next() - 2 ** 31) / 1000 / 10 ** this.below(300);
  }

  #text(): string {
    return this.chance(0.7) ? this.pick(texts) : this.#times(this.below(8), () => this.pick(texts)).join('');
  }

  /** Some JSON value. */
  anything(levels: number = 3): unknown {
    const kind = this.below(levels > 0 ? 7 : 5);
    if (kind === 0) return null;
    if (kind === 1) return this.chance(0.5);
    if (kind === 2) return this.#integer();
    if (kind === 3) return this.#number();
    if (kind === 4) return this.#text();
    if (kind === 5) return this.#times(this.below(4), () => this.anything(levels - 1));
    return objectOf(this.#times(this.below(4), () => [this.pick(names), this.anything(levels - 1)]));
  }

  /** A schema with $defs that it uses. */
  schema(options: SchemaOptions): Sample {
    const shared = this.#schema(options, 1);
    const root = this.#schema(options, levelsMax, shared);
    return { schema: { ...root.schema, $defs: { shared: shared.schema } }, value: root.value };
  }

  #schema(options: SchemaOptions, levels: number, shared?: Sample): Sample {
    if (shared !== undefined && levels < levelsMax && this.chance(0.1)) {
      return { schema: { $ref: '#/$defs/shared' }, value: shared.value };
    }
    if (options.json && this.chance(0.1)) return this.#jsonSchema();
    if (levels > 1 && this.chance(0.6)) {
      return this.chance(0.7) ? this.#object(options, levels, shared) : this.#array(options, levels, shared);
    }
    const leaf = this.#leaf();
    return this.chance(0.2) ? this.#nullable(leaf) : leaf;
  }

  #jsonSchema(): Sample {
    const schema = this.pick([
      {},
      { type: ['string', 'integer'] },
      { anyOf: [{}] },
      { type: 'array' },
      { $ref: 'other' },
      { $ref: '#' },
    ]);
    return { schema, value: () => this.anything() };
  }

  #nullable({ schema, value }: Sample): Sample {
    const { type } = schema;
    if (type === undefined || type === 'null') return { schema, value };
    const types = this.chance(0.5) ? [type, 'null'] : ['null', type];
    return { schema: { ...schema, type: types }, value: () => (this.chance(0.4) ? null : value()) };
  }

  #leaf(): Sample {
    const kind = this.below(7);
    if (kind === 0) return { schema: { type: 'null' }, value: () => null };
    if (kind === 1) return { schema: { type: 'boolean' }, value: () => this.chance(0.5) };
    if (kind === 2) return { schema: { type: 'integer' }, value: () => this.#integer() };
    if (kind === 3) return { schema: { type: 'number' }, value: () => this.#number() };
    if (kind === 4) return { schema: { type: 'string' }, value: () => this.#text() };
    return kind === 5 ? this.#bounded() : this.#constant();
  }

  #bounded(): Sample {
    const low = this.chance(0.5) ? this.below(1000) - 500 : -this.below(2 ** 50);
    const range = this.chance(0.3) ? this.below(3) : this.below(2 ** this.below(52));
    const isExclusive = this.chance(0.3);
    const bounds = isExclusive
      ? { exclusiveMinimum: low - 1, exclusiveMaximum: low + range + 1 }
      : { minimum: low, maximum: low + range };
    const value = (): number => low + (this.chance(0.3) ? this.pick([0, range]) : this.below(range + 1));
    return { schema: { type: 'integer', ...bounds }, value };
  }

  #constant(): Sample {
    if (this.chance(0.3)) {
      const constant = this.anything();
      return { schema: { const: constant }, value: () => constant };
    }
    const members = this.#times(1 + this.below(this.chance(0.1) ? 300 : 5), () => this.anything(2));
    return { schema: { enum: members }, value: () => this.pick(members) };
  }

  #array(options: SchemaOptions, levels: number, shared?: Sample): Sample {
    let item = this.#schema(options, levels - 1, shared);
    // Items without a byte would make the array JSON.
    if (!options.json) item = { schema: { type: 'integer', minimum: 0, maximum: 300 }, value: () => this.below(301) };
    const length = this.below(5);
    const isFixed = this.chance(0.4);
    return {
      schema: { type: 'array', items: item.schema, ...(isFixed ? { minItems: length, maxItems: length } : {}) },
      value: () => this.#times(isFixed ? length : this.below(6), item.value),
    };
  }

  #object(options: SchemaOptions, levels: number, shared?: Sample): Sample {
    const chosen = [...new Set(this.#times(this.below(11), () => this.pick(names)))];
    const fields = chosen.map((name) => ({ name, sample: this.#schema(options, levels - 1, shared) }));
    const required = chosen.filter(() => this.chance(0.5));
    const isOpen = options.json && this.chance(0.4);
    const others = names.filter((name) => !chosen.includes(name));
    const value = (): unknown => {
      const there = fields.filter(({ name }) => required.includes(name) || this.chance(0.5));
      const extra = isOpen && others.length > 0 ? this.#times(this.below(3), () => this.pick(others)) : [];
      return objectOf([
        ...there.map(({ name, sample }) => [name, sample.value()] as const),
        ...extra.map((name) => [name, this.anything()] as const),
      ]);
    };
    const properties = objectOf(fields.map(({ name, sample }) => [name, sample.schema]));
    return {
      schema: { type: 'object', properties, required, ...(isOpen ? {} : { additionalProperties: false }) },
      value,
    };
  }

  /** The same JSON value, with the keys of its objects in another order. */
  shuffled(value: unknown): unknown {
    if (Array.isArray(value)) return value.map((item) => this.shuffled(item));
    if (typeof value !== 'object' || value === null) return value;
    const entries = Object.entries(value).map(([name, inner]) => ({
      name,
      inner: this.shuffled(inner),
      at: this.next(),
    }));
    return objectOf(entries.sort((a, b) => a.at - b.at).map(({ name, inner }) => [name, inner]));
  }

  /** A copy with some bytes changed, added or taken away. */
  damaged(bytes: Uint8Array): Uint8Array {
    const copy = [...bytes];
    for (let n = 1 + this.below(3); n > 0; n--) {
      const at = this.below(copy.length + 1);
      const byte = this.pick([0, 1, 0x7f, 0x80, 0xff, this.below(256)]);
      if (this.chance(0.6) && at < copy.length) copy[at] = byte;
      else if (this.chance(0.5)) copy.splice(at, 0, byte);
      else copy.splice(at, 1 + this.below(3));
    }
    return Uint8Array.from(copy);
  }
}
