/**
 * SchemaCodec: a compact binary encoding of JSON values, driven by a JSON Schema (a subset of draft 7 and 2020-12).
 *
 * What the schema says is not stored again: an object of `energy`, an integer from 0 to 99, takes one byte. It is not a
 * validator: it refuses a value only where it could not be written exactly (INVALID_METADATA, with the path and the
 * rule), and ignores every other keyword. What it takes comes back as JSON.parse(JSON.stringify(value)) would: own
 * enumerable properties count, toJSON is called, undefined is absent.
 * Bytes are not trusted: what encode could not have written (but for the spelling of JSON texts) is INVALID_METADATA,
 * and no read, count or length goes past the bytes: a value decoded from n bytes has at most n + 1 times as many parts
 * as the schema has with its references followed.
 * Thread: the caller's. Pure, except for the buffer that `encode` owns. Both sides must have the same schema; the
 * order of its keys does not matter, that of its arrays does.
 *
 * Bytes (normative). Integers are little endian, `|` separates what follows each other, nothing is aligned.
 *
 *   metadata := value of the root schema, and nothing behind it
 *
 *   uintN    := unsigned integer in N bytes; N = 0: no byte, the integer is 0
 *   varint   := unsigned integer below 2^53, in the fewest groups of 7 bits, low ones first, each in a byte;
 *               the bit 0x80 is set in all bytes but the last
 *   text     := varint bytes | bytes of UTF-8, without surrogates
 *   flag     := byte, 0 or 1
 *
 *   The first row of this table that fits a schema says what its value is:
 *
 *   true, false                          json
 *   $id, not at the root                 json       ($id that does not start with '#': other references begin there)
 *   $ref '#/...'                         value of the schema that it points to; what stands beside it is ignored.
 *                                        json when that schema is being gone through already (recursion), or when the
 *                                        way to it leads through a $id
 *   $ref                                 json       (every other)
 *   const                                nothing
 *   enum                                 uintN index of the first member that is equal, N the fewest bytes for the
 *                                        last index
 *   anyOf, oneOf, allOf                  json
 *   type [T, 'null'], nullable: true     flag | value as of type T, when flag is 1; 0 is null. json when type T is json
 *   type 'null'                          nothing
 *   type 'boolean'                       flag
 *   type 'integer', low and high         uintN value - low, N the fewest bytes for high - low (0 to 7)
 *   type 'integer'                       varint of 2 * value, or of -2 * value - 1 when it is negative: up to 54 bits;
 *                                        |value| < 2^53
 *   type 'number'                        8 bytes: IEEE 754 binary64, finite; -0 is written as 0
 *   type 'string'                        text
 *   type 'array'                         array
 *   type 'object'                        object
 *   else                                 json
 *
 *   The names in an array of types are a set; [T] is T. T is one type, and not 'null'; `nullable` adds 'null' to it.
 *
 *   json     := text, which is JSON
 *
 *   low      := the least integer that minimum and exclusiveMinimum allow, high := the greatest that maximum and
 *               exclusiveMaximum allow; they count when both are there, both are safe integers (|x| < 2^53), and
 *               0 <= high - low < 2^53
 *
 *   array    := value of items, minItems times            when minItems = maxItems
 *             | varint count | value of items, count times  else
 *               json when there is no items, when items is an array, when there is prefixItems, or when a value of
 *               items may take no byte at all (the bytes would not bound the count)
 *
 *   object   := presence | value of each property that is there | rest
 *               properties: the keys of `properties`, sorted by UTF-16 code units
 *   presence := a bit for each property that is not `required`, in their order, from the lowest bit of the first byte;
 *               1: it is there; the bits that are left in the last byte are 0. No byte when all are required.
 *   rest     := nothing                                   when additionalProperties is false, without patternProperties
 *             | text                                      else: the JSON of an object of all other properties, empty
 *                                                         when there are none
 *
 *   Limits: a schema that is more than 64 steps (through properties, items, $ref) from the root is json. When more than
 *   10000 schemas are gone through, the root is json. Each counts as often as a way of such steps leads to it from the
 *   root; ways end at const, at enum, and at what is json by one of the rows above or for its want of items.
 */
import { DiasporaError, wrapError } from '../errors.js';
import { ByteReader } from './byte-reader.js';
import { ByteWriter } from './byte-writer.js';
import { jsonValue } from './json-value.js';
import { Refusal } from './refusal.js';
import { checkSchema, copySchema, isCount, isResource, resolve, type Schema } from './schema-resource.js';
import {
  arrayCodec,
  booleanCodec,
  boundedCodec,
  enumCodec,
  type Field,
  integerCodec,
  jsonCodec,
  nullableCodec,
  nullCodec,
  numberCodec,
  objectCodec,
  stringCodec,
  type ValueCodec,
} from './value-codecs.js';

/** Turns the metadata of events into bytes and back, as one schema says. */
export interface Codec {
  /**
   * The bytes of a value: a view of a buffer of the codec, which holds until the next call of encode. INVALID_METADATA
   * for what the schema does not allow, or JSON cannot express.
   */
  encode(value: unknown): Uint8Array;
  /** The value of bytes that encode made; it shares nothing with them. INVALID_METADATA for all other bytes. */
  decode(bytes: Uint8Array): unknown;
}

/** Steps from the root; deeper schemas are rare, and encode and decode recurse as deep. */
const depthMax = 64;
/** Schemas on all ways from the root: references that fan out would otherwise take time and memory without bound. */
const schemasMax = 10_000;

function integerOf({ minimum, maximum, exclusiveMinimum, exclusiveMaximum }: Schema): ValueCodec {
  const lows: number[] = [];
  const highs: number[] = [];
  if (minimum !== undefined) lows.push(Math.ceil(minimum as number));
  if (exclusiveMinimum !== undefined) lows.push(Math.floor(exclusiveMinimum as number) + 1);
  if (maximum !== undefined) highs.push(Math.floor(maximum as number));
  if (exclusiveMaximum !== undefined) highs.push(Math.ceil(exclusiveMaximum as number) - 1);
  // Of none, an infinity, which is not a safe integer. Adding 0 makes 0 of -0.
  const low = Math.max(...lows) + 0;
  const high = Math.min(...highs) + 0;
  const isBounded = Number.isSafeInteger(low) && Number.isSafeInteger(high) && isCount(high - low);
  return isBounded ? boundedCodec(low, high) : integerCodec;
}

/** Goes through the schemas of one root. */
class Compiler {
  readonly #root: Schema;
  /** The schemas on the way from the root to the present one: a reference to one of them is recursive. */
  readonly #open = new Set<Schema>();
  #schemas = 0;

  constructor(root: Schema) {
    this.#root = root;
  }

  run(): ValueCodec {
    const codec = this.#compile(this.#root, '#', 0);
    return this.#schemas > schemasMax ? jsonCodec : codec;
  }

  #compile(value: unknown, where: string, depth: number): ValueCodec {
    this.#schemas++;
    if (typeof value === 'boolean' || depth > depthMax || this.#schemas > schemasMax) return jsonCodec;
    const schema = checkSchema(value, where);
    this.#open.add(schema);
    const codec = this.#choose(schema, where, depth);
    this.#open.delete(schema);
    return codec;
  }

  /** The table in the header. */
  #choose(schema: Schema, where: string, depth: number): ValueCodec {
    if (schema !== this.#root && isResource(schema)) return jsonCodec;
    if (schema['$ref'] !== undefined) return this.#reference(schema['$ref'] as string, where, depth);
    if (schema['const'] !== undefined) return enumCodec([schema['const']]);
    if (schema['enum'] !== undefined) return enumCodec(schema['enum'] as unknown[]);
    if (['anyOf', 'oneOf', 'allOf'].some((name) => schema[name] !== undefined)) return jsonCodec;
    const types = new Set<unknown>([schema['type'] ?? []].flat());
    const isNullable = types.delete('null') || schema['nullable'] === true;
    const [type] = types;
    if (types.size > 1) return jsonCodec;
    if (type === undefined) return schema['type'] === undefined ? jsonCodec : nullCodec;
    const codec = this.#ofType(type as string, schema, where, depth);
    return isNullable && codec !== jsonCodec ? nullableCodec(codec) : codec;
  }

  #reference(ref: string, where: string, depth: number): ValueCodec {
    if (!ref.startsWith('#/')) return jsonCodec;
    const target = resolve(this.#root, ref, where);
    if (target === undefined || this.#open.has(target as Schema)) return jsonCodec;
    return this.#compile(target, ref, depth + 1);
  }

  #ofType(type: string, schema: Schema, where: string, depth: number): ValueCodec {
    switch (type) {
      case 'boolean':
        return booleanCodec;
      case 'integer':
        return integerOf(schema);
      case 'number':
        return numberCodec;
      case 'string':
        return stringCodec;
      case 'array':
        return this.#array(schema, where, depth);
      default:
        return this.#object(schema, where, depth);
    }
  }

  #array({ items, prefixItems, minItems, maxItems }: Schema, where: string, depth: number): ValueCodec {
    if (items === undefined || Array.isArray(items) || prefixItems !== undefined) return jsonCodec;
    const item = this.#compile(items, `${where}/items`, depth + 1);
    if (item.bytesMin === 0) return jsonCodec;
    return arrayCodec(item, minItems === maxItems ? (minItems as number | undefined) : undefined);
  }

  #object(schema: Schema, where: string, depth: number): ValueCodec {
    const properties = (schema['properties'] ?? {}) as Schema;
    const required = new Set((schema['required'] ?? []) as string[]);
    const fields = Object.keys(properties)
      .sort()
      .map((name): Field => {
        const codec = this.#compile(properties[name], `${where}/properties/${name}`, depth + 1);
        return { name, required: required.has(name), codec };
      });
    // With patternProperties there are properties that are neither named nor additional.
    const isOpen = schema['additionalProperties'] !== false || schema['patternProperties'] !== undefined;
    return objectCodec(fields, isOpen);
  }
}

/** What was thrown while coding, as the error for the caller. */
function refuse(what: string, error: unknown): DiasporaError {
  if (error instanceof Refusal) return new DiasporaError('INVALID_METADATA', error.text, { cause: error.cause });
  return wrapError('INVALID_METADATA', what, error);
}

function compile(schema: Schema): ValueCodec {
  try {
    return new Compiler(schema).run();
  } catch (error) {
    // A const or enum may nest deeper than the stack allows.
    throw wrapError('INVALID_ARGUMENT', 'the JSON schema cannot be compiled', error);
  }
}

/** The codec of a schema. INVALID_ARGUMENT when it is none, or has parts that are malformed. */
export function compileSchemaCodec(schema: unknown): Codec {
  const codec = compile(copySchema(schema));
  const ownWriter = new ByteWriter();
  let isEncoding = false;
  return {
    encode(value) {
      // A getter or toJSON of the value may come here again: it must not write into what is being written.
      const isNested = isEncoding;
      const writer = isNested ? new ByteWriter() : ownWriter;
      isEncoding = true;
      try {
        writer.reset();
        codec.encode(writer, jsonValue(value, ''));
        return writer.written();
      } catch (error) {
        // Other than refusals, this is what getters and toJSON of the value have thrown.
        throw refuse('the metadata cannot be encoded', error);
      } finally {
        isEncoding = isNested;
      }
    },
    decode(bytes) {
      const reader = new ByteReader(bytes);
      try {
        const value = codec.decode(reader);
        if (reader.remaining > 0) throw new Refusal(`${reader.remaining} bytes are left over`);
        return value;
      } catch (error) {
        throw error instanceof Refusal ? refuse('', error) : error;
      }
    },
  };
}
