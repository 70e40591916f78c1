/**
 * The stages of a topic: validator, partition selector, serializer; how they are given, stored with the topic, and run.
 *
 * Built-in stages are stored with the topic as configuration, so that every process applies the same. Functions and
 * objects cannot be stored: they hold in the process that gave them, and the topic remembers only that there is one.
 * Thread: the caller's. Nothing here does I/O.
 */
import { createRequire } from 'node:module';
import type { StandardSchemaV1 } from '@standard-schema/spec';
import { DiasporaError, wrapError } from './errors.js';
import type { Segment } from './native.js';
import { invalidOption } from './options.js';

/** Data of one event: one segment of memory, or several that are stored one after the other. */
export type EventData = Segment | readonly Segment[];

/** A JSON Schema (draft 7), as an object. */
export type JsonSchema = Readonly<Record<string, unknown>>;

/** A validator of this process: throws, or returns false, to refuse the event. */
export type ValidatorFunction<T> = (metadata: T, data: EventData | undefined) => unknown;

/**
 * Refuses events. `'default'` accepts all; `{ type: 'schema', schema }` takes a JSON Schema and is stored with the topic;
 * functions, `{ validate }` objects and Standard Schemas (zod, valibot, arktype, ...) hold in this process only.
 */
export type Validator<T = unknown> =
  | 'default'
  | { readonly type: 'default' }
  | { readonly type: 'schema'; readonly schema: JsonSchema }
  | ValidatorFunction<T>
  | { readonly validate: ValidatorFunction<T> }
  | StandardSchemaV1;

/** What a partition selector may go by. */
export interface SelectionInfo {
  /** Partitions of the topic. */
  readonly partitions: number;
  /** The partition given to push, if any. */
  readonly requested: number | undefined;
}

export type PartitionSelectorFunction<T> = (metadata: T, info: SelectionInfo) => number;

/** Chooses each event's partition. `'default'`: the one given to push, else round robin. Functions hold in this process. */
export type PartitionSelector<T = unknown> =
  | 'default'
  | { readonly type: 'default' }
  | PartitionSelectorFunction<T>
  | { readonly select: PartitionSelectorFunction<T> };

/** Turns metadata into text and back. `'default'`: JSON. Objects hold in this process. */
export type Serializer<T = unknown> =
  | 'default'
  | { readonly type: 'default' }
  | { readonly serialize: (metadata: T) => string; readonly deserialize: (text: string) => T };

/** The stages of a topic; each defaults to its built-in `default`. */
export interface StageOptions<T = unknown> {
  readonly validator?: Validator<T>;
  readonly partitionSelector?: PartitionSelector<T>;
  readonly serializer?: Serializer<T>;
}

/** What the topic's configuration says of one stage. `local`: a function or object of the process that gave it. */
type StageConfig = { readonly type: 'default' | 'local' } | { readonly type: 'schema'; readonly schema: JsonSchema };

/** What is stored with a topic. */
export interface StoredStages {
  readonly validator: StageConfig;
  readonly partitionSelector: StageConfig;
  readonly serializer: StageConfig;
}

/** Throws to refuse; returns the metadata to store (a schema may have changed it). */
type Validate = (metadata: unknown, data: EventData | undefined) => unknown;

function isObject(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null;
}

function isStandardSchema(value: unknown): value is StandardSchemaV1 {
  return (isObject(value) || typeof value === 'function') && isObject((value as Record<string, unknown>)['~standard']);
}

function refuse(message: string, cause?: unknown): DiasporaError {
  return new DiasporaError('INVALID_METADATA', `the validator refused the event: ${message}`, { cause });
}

function fromFunction(validate: ValidatorFunction<never>): Validate {
  return (metadata, data) => {
    let verdict: unknown;
    try {
      verdict = validate(metadata as never, data);
    } catch (error) {
      throw refuse(error instanceof Error ? error.message : String(error), error);
    }
    if (verdict === false) throw refuse('it returned false');
    if (verdict instanceof Promise) {
      verdict.catch(() => undefined);
      throw new DiasporaError('INVALID_ARGUMENT', 'a validator must not be asynchronous');
    }
    return metadata;
  };
}

function formatIssue({ message, path }: StandardSchemaV1.Issue): string {
  const steps = path?.map((step) => String(isObject(step) ? step['key'] : step)) ?? [];
  return steps.length === 0 ? message : `${steps.join('.')}: ${message}`;
}

/** Of a Standard Schema: the value that it gives back is what is stored. */
function fromStandardSchema(schema: StandardSchemaV1): Validate {
  return (metadata) => {
    const result = schema['~standard'].validate(metadata);
    if (result instanceof Promise) {
      result.catch(() => undefined);
      throw new DiasporaError('INVALID_ARGUMENT', 'a schema for metadata must not validate asynchronously');
    }
    if (result.issues) throw refuse(result.issues.map(formatIssue).join('; '));
    return result.value;
  };
}

/** Of a JSON Schema, compiled; a schema that does not compile is INVALID_ARGUMENT. Ajv is loaded on first use. */
function fromJsonSchema(schema: JsonSchema): Validate {
  const { Ajv } = createRequire(import.meta.url)('ajv') as typeof import('ajv');
  const ajv = new Ajv({ allErrors: true, strict: false });
  let accepts: ReturnType<typeof ajv.compile>;
  try {
    accepts = ajv.compile(schema);
  } catch (error) {
    throw wrapError('INVALID_ARGUMENT', 'the JSON schema is not valid', error);
  }
  return (metadata) => {
    if (accepts(metadata)) return metadata;
    throw refuse(ajv.errorsText(accepts.errors, { dataVar: 'metadata' }));
  };
}

/** A schema in either form. */
export function compileSchema(schema: StandardSchemaV1 | JsonSchema): Validate {
  if (isStandardSchema(schema)) return fromStandardSchema(schema);
  if (isObject(schema)) return fromJsonSchema(schema);
  throw invalidOption('schema', 'a Standard Schema or a JSON Schema object', schema);
}

function isDefault(stage: unknown): boolean {
  return stage === undefined || stage === 'default' || (isObject(stage) && stage['type'] === 'default');
}

function compileValidator(validator: unknown): Validate | undefined {
  if (isDefault(validator)) return undefined;
  if (isStandardSchema(validator)) return fromStandardSchema(validator);
  if (typeof validator === 'function') return fromFunction(validator as ValidatorFunction<never>);
  if (isObject(validator) && validator['type'] === 'schema') return compileSchema(validator['schema'] as JsonSchema);
  const validate = isObject(validator) ? validator['validate'] : undefined;
  if (typeof validate === 'function') return fromFunction((...event) => validate.apply(validator, event));
  throw invalidOption(
    'validator',
    "'default', { type: 'schema', schema }, a function, { validate } or a schema",
    validator,
  );
}

function compileSelector(selector: unknown): PartitionSelectorFunction<unknown> | undefined {
  if (isDefault(selector)) return undefined;
  if (typeof selector === 'function') return selector as PartitionSelectorFunction<unknown>;
  const select = isObject(selector) ? selector['select'] : undefined;
  if (typeof select === 'function') return (metadata, info) => select.call(selector, metadata, info) as number;
  throw invalidOption('partitionSelector', "'default', a function or { select }", selector);
}

interface CompiledSerializer {
  readonly serialize: (metadata: unknown) => string;
  readonly deserialize: (text: string) => unknown;
}

function compileSerializer(serializer: unknown): CompiledSerializer | undefined {
  if (isDefault(serializer)) return undefined;
  if (isObject(serializer)) {
    const { serialize, deserialize } = serializer;
    if (typeof serialize === 'function' && typeof deserialize === 'function') {
      return {
        serialize: (metadata) => serialize.call(serializer, metadata) as string,
        deserialize: (text) => deserialize.call(serializer, text),
      };
    }
  }
  throw invalidOption('serializer', "'default' or { serialize, deserialize }", serializer);
}

function toConfig(stage: unknown): StageConfig {
  if (isDefault(stage)) return { type: 'default' };
  if (isObject(stage) && stage['type'] === 'schema') return { type: 'schema', schema: stage['schema'] as JsonSchema };
  return { type: 'local' };
}

/** What to store with a topic that is created with `options`. Throws INVALID_ARGUMENT for stages that are none. */
export function storedStages(options: StageOptions<never>): StoredStages {
  compileValidator(options.validator);
  compileSelector(options.partitionSelector);
  compileSerializer(options.serializer);
  return {
    validator: toConfig(options.validator),
    partitionSelector: toConfig(options.partitionSelector),
    serializer: toConfig(options.serializer),
  };
}

/** JSON text of a value. INVALID_METADATA for what JSON cannot express. */
export function encodeJson(value: unknown): string {
  let text: string | undefined;
  try {
    text = JSON.stringify(value);
  } catch (error) {
    throw wrapError('INVALID_METADATA', 'the metadata cannot be written as JSON', error);
  }
  if (text === undefined) {
    throw new DiasporaError('INVALID_METADATA', `the metadata cannot be written as JSON: it is ${typeof value}`);
  }
  return text;
}

export function parseJson(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch (error) {
    throw wrapError('INVALID_METADATA', 'the metadata is not JSON', error);
  }
}

const brace = '{'.charCodeAt(0);
const braceEnd = '}'.charCodeAt(0);
const bracket = '['.charCodeAt(0);
const bracketEnd = ']'.charCodeAt(0);

/**
 * Throws INVALID_METADATA for text that cannot be JSON. What is enclosed by {} or [] is trusted, since parsing costs
 * several times what the rest of a push does (0.9 us for 120 bytes); all other text is parsed.
 */
export function checkJsonOutline(text: string): void {
  const first = text.charCodeAt(0);
  const last = text.charCodeAt(text.length - 1);
  if ((first === brace && last === braceEnd) || (first === bracket && last === bracketEnd)) return;
  parseJson(text);
}

/** The stages of one topic, ready to run. */
export class Stages {
  /** No stage needs the metadata as a value: text goes through as it is. */
  readonly textOnly: boolean;
  readonly #validators: readonly Validate[];
  readonly #selector: PartitionSelectorFunction<unknown> | undefined;
  readonly #serializer: CompiledSerializer | undefined;
  /** Names of the stages that are functions of another process. */
  readonly foreign: readonly (keyof StoredStages)[];

  /**
   * `stored` is the topic's configuration; `local` the functions and objects of this process (from createTopic or
   * openTopic) for the stages that are stored as local; `schema` is one more validator.
   */
  constructor(stored: StoredStages, local: StageOptions<never>, schema: StandardSchemaV1 | JsonSchema | undefined) {
    const names = ['validator', 'partitionSelector', 'serializer'] as const;
    this.foreign = names.filter((name) => stored[name].type === 'local' && local[name] === undefined);
    for (const name of names) {
      if (local[name] === undefined || stored[name].type === 'local') continue;
      throw new DiasporaError('INVALID_ARGUMENT', `the topic has its own ${name}: '${stored[name].type}'`);
    }
    const validator = compileValidator(stored.validator.type === 'local' ? local.validator : stored.validator);
    const compiled = validator ? [validator] : [];
    this.#validators = schema === undefined ? compiled : [...compiled, compileSchema(schema)];
    this.#selector = compileSelector(local.partitionSelector);
    this.#serializer = compileSerializer(local.serializer);
    this.textOnly = this.#validators.length === 0 && !this.#selector && !this.#serializer;
  }

  /**
   * Throws INVALID_STATE when one of the `needed` stages is a function that only another process has: producing or
   * consuming without it would break what the topic promises.
   */
  require(topic: string, needed: readonly (keyof StoredStages)[]): void {
    const missing = needed.filter((name) => this.foreign.includes(name));
    if (missing.length === 0) return;
    throw new DiasporaError(
      'INVALID_STATE',
      `the ${missing.join(' and ')} of topic '${topic}' is a function of the process that created it; give it to openTopic`,
      { topic },
    );
  }

  /** The selector, when it is not the default. */
  get selector(): PartitionSelectorFunction<unknown> | undefined {
    return this.#selector;
  }

  get hasSerializer(): boolean {
    return this.#serializer !== undefined;
  }

  /** Validates; returns the value to store. */
  validate(metadata: unknown, data: EventData | undefined): unknown {
    let value = metadata;
    for (const validate of this.#validators) value = validate(value, data);
    return value;
  }

  /** The text to store for a validated value. */
  serialize(value: unknown): string {
    if (this.#serializer === undefined) return encodeJson(value);
    let text: unknown;
    try {
      text = this.#serializer.serialize(value);
    } catch (error) {
      throw wrapError('INVALID_METADATA', 'the serializer failed', error);
    }
    if (typeof text === 'string') return text;
    throw new DiasporaError('INVALID_METADATA', `the serializer returned ${typeof text}, not a string`);
  }

  /** The value of stored text. INVALID_METADATA when it has none. */
  deserialize(text: string): unknown {
    if (this.#serializer === undefined) return parseJson(text);
    try {
      return this.#serializer.deserialize(text);
    } catch (error) {
      throw wrapError('INVALID_METADATA', 'the serializer could not read the stored text', error);
    }
  }
}
