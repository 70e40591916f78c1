/**
 * The stages of a topic: validator, partition selector, serializer; how they are stored with the topic, and run.
 *
 * Built-in stages and modules are stored with the topic as configuration, so that every process applies the same.
 * Functions and objects cannot be stored: they hold in the process that gave them, and the topic remembers only that
 * there is one. Thread: the producer's or consumer's, or a worker of a thread pool, which resolves and compiles the stored
 * stages once more for itself. Only resolveStages() does I/O: it loads modules.
 */
import type { StandardSchemaV1 } from '@standard-schema/spec';
import { DiasporaError, wrapError } from '../errors.js';
import { invalidOption } from '../options.js';
import { encodeJson, parseJson } from './json.js';
import { loadModuleStage, moduleReference } from './modules.js';
import { builtInSelector, type SelectorFactory } from './selectors.js';
import { builtInSerializer, givenSerializer, type ReadySerializer, runSerializer } from './serializers.js';
import type { EventData, JsonSchema, PartitionSelectorFunction, StageOptions } from './types.js';
import { compileSchema, compileValidator, isStandardSchema, type Validate } from './validators.js';

const stageNames = ['validator', 'partitionSelector', 'serializer'] as const;
export type StageName = (typeof stageNames)[number];

/** What the topic's configuration says of one stage. `local`: a function or object of the process that gave it. */
export type StageConfig = { readonly type: string } & Readonly<Record<string, unknown>>;

/** What is stored with a topic. */
export type StoredStages = Readonly<Record<StageName, StageConfig>>;

function isObject(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null;
}

/** What to store for a stage. INVALID_ARGUMENT for what JSON cannot express. */
function toConfig(name: StageName, stage: unknown): StageConfig {
  if (stage === undefined) return { type: 'default' };
  if (typeof stage === 'string') return { type: stage };
  if (!isObject(stage) || isStandardSchema(stage)) return { type: 'local' };
  if (['validate', 'select', 'serialize'].some((method) => typeof stage[method] === 'function'))
    return { type: 'local' };
  if (typeof stage['type'] !== 'string')
    throw invalidOption(name, 'a type, a function or an object with methods', stage);
  if (stage['type'] === 'local') throw invalidOption(name, "another type than 'local'", stage);
  try {
    return JSON.parse(JSON.stringify(stage)) as StageConfig;
  } catch (error) {
    throw wrapError('INVALID_ARGUMENT', `the ${name} cannot be stored with the topic`, error);
  }
}

/** What to store with a topic that is created with `options`. Throws INVALID_ARGUMENT. */
export function storedStages(options: StageOptions<never>): StoredStages {
  return {
    validator: toConfig('validator', options.validator),
    partitionSelector: toConfig('partitionSelector', options.partitionSelector),
    serializer: toConfig('serializer', options.serializer),
  };
}

/** Those of the given stages that are functions or objects: what the topic cannot keep. */
export function localStages(stored: StoredStages, given: StageOptions<never>): StageOptions<never> {
  const local = stageNames.filter((name) => stored[name].type === 'local').map((name) => [name, given[name]]);
  return Object.fromEntries(local) as StageOptions<never>;
}

/** A stage ready to be compiled: its configuration, or what a module or this process gave. */
export interface ResolvedStage {
  readonly config: StageConfig;
  /** Undefined for built-in stages, and for those that this process lacks. */
  readonly given: unknown;
  /** Why this process lacks it. Thrown by whoever needs it: a consumer works without the module of a validator. */
  readonly lack?: DiasporaError;
}

export type ResolvedStages = Readonly<Record<StageName, ResolvedStage>>;

function foreign(name: StageName): DiasporaError {
  const advice = `the topic's ${name} is a function of the process that created it; give it to openTopic`;
  return new DiasporaError('INVALID_STATE', advice);
}

async function resolveModule(config: StageConfig, directories: readonly string[]): Promise<ResolvedStage> {
  try {
    return { config, given: await loadModuleStage(config, directories) };
  } catch (error) {
    return { config, given: undefined, lack: error as DiasporaError };
  }
}

/**
 * Loads the modules among the stored stages from the allowed `directories`, and takes the functions of this process from
 * `local`. INVALID_ARGUMENT for a function in place of a stage that is stored.
 */
export async function resolveStages(
  stored: StoredStages,
  local: StageOptions<never>,
  directories: readonly string[],
): Promise<ResolvedStages> {
  const resolve = async (name: StageName): Promise<ResolvedStage> => {
    const config = stored[name];
    if (config.type === 'local') {
      return local[name] === undefined
        ? { config, given: undefined, lack: foreign(name) }
        : { config, given: local[name] };
    }
    if (local[name] !== undefined) {
      throw new DiasporaError('INVALID_ARGUMENT', `the topic has its own ${name}: '${config.type}'`);
    }
    if (moduleReference(config.type) !== undefined) return resolveModule(config, directories);
    return { config, given: undefined };
  };
  const [validator, partitionSelector, serializer] = await Promise.all([
    resolve('validator'),
    resolve('partitionSelector'),
    resolve('serializer'),
  ]);
  return { validator, partitionSelector, serializer };
}

function readyValidator({ config, given }: ResolvedStage): Validate {
  return compileValidator(given ?? config);
}

function readySelector({ config, given }: ResolvedStage): SelectorFactory {
  if (given === undefined) return builtInSelector(config);
  const select = typeof given === 'function' ? given : isObject(given) ? given['select'] : undefined;
  if (typeof select !== 'function') throw invalidOption('partitionSelector', 'a function or { select }', given);
  return () => (metadata, info) => {
    let partition: unknown;
    try {
      partition = select.call(given, metadata, info);
    } catch (error) {
      throw wrapError('INVALID_PARTITION', 'the partition selector failed', error);
    }
    if (partition instanceof Promise) partition.catch(() => undefined);
    return partition as number;
  };
}

function readySerializer({ config, given }: ResolvedStage): ReadySerializer | undefined {
  if (given === undefined) return builtInSerializer(config);
  if (!isObject(given)) throw invalidOption('serializer', 'an object with serialize and deserialize', given);
  return givenSerializer(given);
}

/** Compiles a stage; undefined for the default and for one that this process lacks. */
function ready<T>(stage: ResolvedStage, compile: (stage: ResolvedStage) => T): T | undefined {
  return stage.config.type === 'default' || stage.lack !== undefined ? undefined : compile(stage);
}

/** The stages of one topic, ready to run. */
export class Stages {
  /** No stage needs the metadata as a value: text goes through as it is. */
  readonly textOnly: boolean;
  /** Text that is pushed is stored without a look at it. */
  readonly raw: boolean;
  /** What is stored is bytes, not text. */
  readonly binary: boolean;
  readonly #validators: readonly Validate[];
  readonly #selector: SelectorFactory | undefined;
  readonly #serializer: ReadySerializer | undefined;
  readonly #stages: ResolvedStages;

  /** `schema` is one more validator. Throws INVALID_ARGUMENT for stages that are none. */
  constructor(stages: ResolvedStages, schema: StandardSchemaV1 | JsonSchema | undefined) {
    this.#stages = stages;
    const validators = [ready(stages.validator, readyValidator), schema && compileSchema(schema)];
    this.#validators = validators.filter((validate) => validate !== undefined);
    this.#selector = ready(stages.partitionSelector, readySelector);
    this.#serializer = ready(stages.serializer, readySerializer);
    this.raw = stages.serializer.config.type === 'raw';
    this.binary = this.#serializer?.binary === true;
    this.textOnly = this.#validators.length === 0 && !this.#selector && !this.#serializer;
  }

  /**
   * Throws when this process lacks one of the `needed` stages, since producing or consuming without it would break what
   * the topic promises: INVALID_STATE for a function of another process, INVALID_ARGUMENT for a module.
   */
  require(topic: string, needed: readonly StageName[]): void {
    for (const name of needed) {
      const { lack } = this.#stages[name];
      if (lack !== undefined) throw new DiasporaError(lack.code, lack.message, { topic, cause: lack });
    }
  }

  /** What the topic's configuration says of a stage. */
  configOf(name: StageName): StageConfig {
    return this.#stages[name].config;
  }

  /** A selector for one producer; undefined for the default. Throws INVALID_ARGUMENT when it does not suit the topic. */
  makeSelector(partitions: number): PartitionSelectorFunction<unknown> | undefined {
    return this.#selector?.(partitions);
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

  /** What to store for a validated value; bytes are valid until the next call. */
  serialize(value: unknown): string | Uint8Array {
    return this.#serializer === undefined ? encodeJson(value) : runSerializer(this.#serializer, value);
  }

  /** The value of what is stored: text, or bytes where `binary`. INVALID_METADATA when it has none. */
  deserialize(stored: string | Uint8Array): unknown {
    if (this.#serializer === undefined) return parseJson(stored as string);
    try {
      return this.#serializer.deserialize(stored as never);
    } catch (error) {
      throw wrapError('INVALID_METADATA', 'the serializer could not read what is stored', error);
    }
  }
}
