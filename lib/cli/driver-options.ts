/**
 * Which driver a command opens, and how: from its options, from the environment variable DIASPORA_CTL_DRIVER_OPTIONS
 * (as `diaspora-ctl` of the reference reads it) and from DIASPORA_GROUP_FILE, the earlier winning over the later.
 *
 * A place of more force stands in for one of less: with `--data` on the command line nothing of a fabric driver that the
 * environment names is taken, with `--server` its other options are.
 */
import { readFile } from 'node:fs/promises';
import { InvalidArgumentError } from 'commander';
import type { DriverOptions } from '../driver.js';
import { DiasporaError, wrapError } from '../errors.js';
import { typedValue } from './stage-options.js';

/** As commander names the options; what is not given is absent. */
export interface ConnectionOptions {
  readonly driver?: string;
  readonly driverConfig?: string;
  /** What `--driver.KEY VALUE` has set. */
  readonly driverOption?: Readonly<Record<string, unknown>>;
  readonly groupFile?: string;
  readonly server?: string[];
  readonly data?: string;
  readonly provider?: string;
  readonly domain?: string;
  readonly modules?: string[];
  readonly connectTimeout?: number;
  readonly waitFor?: number;
}

type Options = Record<string, unknown>;

/** The command line gives servers more time than programs take: it is often started beside them. */
const connectTimeoutMs = 10_000;

const placeKeys = ['data', 'servers', 'groupFile'] as const;
const listKeys = ['servers', 'modules'];
const textKeys = ['driver', 'data', 'groupFile', 'provider', 'domain'];

/** `group_file` and `group-file`, as the reference writes options, are `groupFile`. */
function optionName(key: string): string {
  return key.replaceAll(/[-_](\w)/g, (_, letter: string) => letter.toUpperCase());
}

function optionValue(name: string, text: string): unknown {
  if (name === 'data' && text === 'false') return false;
  if (textKeys.includes(name)) return text;
  const value = typedValue(text);
  return listKeys.includes(name) && !Array.isArray(value) ? [text] : value;
}

/** Takes `KEY=VALUE` into the options that `--driver.KEY VALUE` has set so far. */
export function collectDriverOption(text: string, before: Options = {}): Options {
  const at = text.indexOf('=');
  const name = optionName(text.slice(0, at));
  if (name === '' || name.includes('.')) throw new InvalidArgumentError(`There is no option '${text.slice(0, at)}'.`);
  return { ...before, [name]: optionValue(name, text.slice(at + 1)) };
}

/**
 * `--driver.KEY VALUE` and `--driver.KEY=VALUE` as `--driver-option KEY=VALUE`, which commander can be told of. One
 * without a value is left as it is, and so refused by its name.
 */
export function foldDriverOptions(args: readonly string[]): string[] {
  const folded: string[] = [];
  for (let i = 0; i < args.length; i += 1) {
    const arg = args[i] as string;
    if (arg === '--') return [...folded, ...args.slice(i)];
    const match = /^--driver\.([^=]+)(=.*)?$/s.exec(arg);
    const given = match?.[2] ?? (args[i + 1] === undefined ? undefined : `=${args[i + 1]}`);
    if (match === null || given === undefined) {
      folded.push(arg);
      continue;
    }
    folded.push('--driver-option', `${match[1]}${given}`);
    if (match[2] === undefined) i += 1;
  }
  return folded;
}

async function readConfig(path: string): Promise<Options> {
  let config: unknown;
  try {
    config = JSON.parse(await readFile(path, 'utf8'));
  } catch (error) {
    throw wrapError('INVALID_ARGUMENT', `${path} cannot be read`, error, { path });
  }
  if (typeof config !== 'object' || config === null || Array.isArray(config)) {
    throw new DiasporaError('INVALID_ARGUMENT', `${path} does not hold a JSON object`, { path });
  }
  return Object.fromEntries(Object.entries(config).map(([key, value]) => [optionName(key), value]));
}

function withoutUndefined(options: Options): Options {
  return Object.fromEntries(Object.entries(options).filter(([, value]) => value !== undefined));
}

/** The options that have a name of their own. Of the places the first counts. */
function namedOptions(given: ConnectionOptions): { place: Options; common: Options; fabric: Options } {
  const { driver, data, server, groupFile, modules, provider, domain, connectTimeout, waitFor } = given;
  const where = data !== undefined ? { data } : server !== undefined ? { servers: server } : { groupFile };
  return {
    place: withoutUndefined({ driver, ...where }),
    common: withoutUndefined({ modules }),
    fabric: withoutUndefined({ provider, domain, connectTimeoutMs: connectTimeout, minServers: waitFor }),
  };
}

/** What one source says, the strongest last. */
interface Source {
  readonly parts: readonly Options[];
  /** Left out for an embedded driver, which has none of these. */
  readonly fabric: Options;
  readonly kind: unknown;
}

function kindOf(parts: readonly Options[]): unknown {
  const all: Options = Object.assign({}, ...parts);
  if (all['driver'] !== undefined) return all['driver'];
  if (all['data'] !== undefined) return 'embedded';
  return all['servers'] !== undefined || all['groupFile'] !== undefined ? 'fabric' : undefined;
}

async function readSource(given: ConnectionOptions): Promise<Source> {
  const { place, common, fabric } = namedOptions(given);
  const file = given.driverConfig === undefined ? {} : await readConfig(given.driverConfig);
  const parts = [file, given.driverOption ?? {}, common, place];
  // A place on the command line stands in for the one of a file, also where that is of another kind.
  const named = kindOf([place]) ?? kindOf([given.driverOption ?? {}]);
  return { parts, fabric, kind: named ?? kindOf(parts) };
}

function overlay(base: Options, part: Options): Options {
  const isPlace = placeKeys.some((key) => part[key] !== undefined);
  const kept = Object.entries(base).filter(([key]) => !isPlace || !(placeKeys as readonly string[]).includes(key));
  return { ...Object.fromEntries(kept), ...part };
}

/**
 * The options for Driver.open that the sources say together, the strongest first; undefined when none says which driver
 * or where.
 */
export async function mergeDriverOptions(given: readonly ConnectionOptions[]): Promise<DriverOptions | undefined> {
  const sources = await Promise.all(given.map(readSource));
  const kind = sources.find((source) => source.kind !== undefined)?.kind;
  if (kind === undefined) return undefined;
  let options: Options = kind === 'fabric' ? { connectTimeoutMs } : {};
  for (const source of sources.toReversed()) {
    if (source.kind !== undefined && source.kind !== kind) continue;
    const parts = kind === 'embedded' ? source.parts : [...source.parts, source.fabric];
    for (const part of parts) options = overlay(options, part);
  }
  // Only a group file can be waited for.
  if (options['servers'] !== undefined) delete options['minServers'];
  return { ...options, driver: kind } as DriverOptions;
}
