/**
 * The stages of a topic on the command line: `--validator NAME`, `--validator-config FILE`, `--validator.key.sub VALUE`,
 * and so for the partition selector and the serializer. What is later in this list wins.
 */
import { readFile } from 'node:fs/promises';
import { type Command, InvalidArgumentError } from 'commander';
import { wrapError } from '../errors.js';

const stages = ['validator', 'partition-selector', 'serializer'] as const;

/** As commander names them. */
export interface GivenStages {
  readonly validator?: string;
  readonly validatorConfig?: string;
  readonly partitionSelector?: string;
  readonly partitionSelectorConfig?: string;
  readonly serializer?: string;
  readonly serializerConfig?: string;
}

type Config = Record<string, unknown>;

function camelCase(name: string): string {
  return name.replace(/-(\w)/g, (_, letter: string) => letter.toUpperCase());
}

/** The option `--NAME`, `--NAME-config` and `--NAME.key` of each stage. The command then takes what it does not know. */
export function addStageOptions(command: Command): Command {
  for (const stage of stages) {
    const words = stage.replace('-', ' ');
    command
      .option(`--${stage} <type>`, `${words}: a built-in type or name:./file.mjs; --${stage}.KEY sets its options`)
      .option(`--${stage}-config <file>`, `configuration of the ${words}, a JSON object`);
  }
  return command.allowUnknownOption().allowExcessArguments();
}

/** JSON where it is JSON (numbers, true, null, quoted text, lists, objects), a list where it has commas, else text. */
export function typedValue(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return text.includes(',') ? text.split(',').map(typedValue) : text;
  }
}

/** Sets `keys` of `config` to `value`, making objects on the way. */
function setDeep(config: Config, keys: readonly string[], value: unknown): void {
  let target = config;
  for (const key of keys.slice(0, -1)) {
    const inner = Object.hasOwn(target, key) ? target[key] : undefined;
    const next: Config = typeof inner === 'object' && inner !== null && !Array.isArray(inner) ? (inner as Config) : {};
    Object.defineProperty(target, key, { value: next, enumerable: true, configurable: true, writable: true });
    target = next;
  }
  Object.defineProperty(target, keys.at(-1) as string, { value, enumerable: true, configurable: true, writable: true });
}

/** Takes `--PREFIX.key VALUE` (or `=VALUE`) of `prefixes` from the arguments that the command did not know. */
export function dottedOptions(rest: readonly string[], prefixes: readonly string[]): Map<string, Config> {
  const found = new Map<string, Config>();
  for (let i = 0; i < rest.length; i += 1) {
    const [name = '', ...given] = (rest[i] as string).split('=');
    const [prefix, ...keys] = name.startsWith('--') ? name.slice(2).split('.') : [];
    if (prefix === undefined || !prefixes.includes(prefix) || keys.length === 0 || keys.includes('')) {
      throw new InvalidArgumentError(`unknown option or argument '${rest[i]}'`);
    }
    if (given.length === 0) i += 1;
    const text = given.length > 0 ? given.join('=') : rest[i];
    if (text === undefined) throw new InvalidArgumentError(`option '${name}' needs a value`);
    const config = found.get(prefix) ?? {};
    setDeep(config, keys, typedValue(text));
    found.set(prefix, config);
  }
  return found;
}

async function readConfig(path: string): Promise<Config> {
  let config: unknown;
  try {
    config = JSON.parse(await readFile(path, 'utf8'));
  } catch (error) {
    throw wrapError('INVALID_ARGUMENT', `${path} cannot be read`, error, { path });
  }
  if (typeof config === 'object' && config !== null && !Array.isArray(config)) return config as Config;
  throw new InvalidArgumentError(`${path} does not hold a JSON object`);
}

function merge(base: Config, over: Config): Config {
  for (const [key, value] of Object.entries(over)) {
    const inner = Object.hasOwn(base, key) ? base[key] : undefined;
    const both = [inner, value].every((part) => typeof part === 'object' && part !== null && !Array.isArray(part));
    setDeep(base, [key], both ? merge(inner as Config, value as Config) : value);
  }
  return base;
}

/** The stages that were given, as createTopic takes them. `rest`: the arguments that the command did not know. */
export async function readStages(options: GivenStages, dotted: ReadonlyMap<string, Config>): Promise<Config> {
  const given: Config = {};
  for (const stage of stages) {
    const key = camelCase(stage);
    const type = options[key as keyof GivenStages];
    const file = options[`${key}Config` as keyof GivenStages];
    if (type === undefined && file === undefined && !dotted.has(stage)) continue;
    const config = file === undefined ? {} : await readConfig(file);
    if (type !== undefined) config['type'] = type;
    given[key] = merge(config, dotted.get(stage) ?? {});
  }
  return given;
}

/** What may stand before the dot. */
export const stagePrefixes: readonly string[] = stages;
