/**
 * `diaspora forward --config FILE`: copies events between topics of any drivers, by the rules of a YAML file, until it is
 * interrupted. Rules run side by side; one that fails for a while is tried again.
 */
import { readFile } from 'node:fs/promises';
import { dirname, resolve } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { Command } from 'commander';
import { parse } from 'yaml';
import { Driver, type DriverOptions } from '../driver.js';
import { DiasporaError, wrapError } from '../errors.js';
import type { DataSelectorFunction } from '../event-supply.js';
import { type ForwardOptions, forward } from '../forward.js';
import { checkKeys } from '../options.js';
import { loadModuleStage } from '../stages/modules.js';
import { parseTimeout } from './arguments.js';
import { errorLine, note, noteLog, untilInterrupted } from './terminal.js';

/** Pause before a rule that failed is tried again, milliseconds; as the reference. */
const retryMs = 500;

interface Rule {
  readonly from: string;
  readonly to: string;
  readonly consumer?: string;
  readonly data?: boolean;
  readonly dataSelector?: string;
  readonly keepPartition?: boolean;
}

const ruleKeys = ['from', 'to', 'consumer', 'data', 'dataSelector', 'keepPartition'] as const;

interface Config {
  readonly drivers: ReadonlyMap<string, DriverOptions>;
  readonly rules: readonly Rule[];
}

function malformed(path: string, what: string): DiasporaError {
  return new DiasporaError('INVALID_ARGUMENT', `${path}: ${what}`, { path });
}

function isObject(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}

/** `{ driver, ...options }` as Driver.open takes it, or `{ type, options }` as the reference writes it. */
function driverOptions(given: Record<string, unknown>): DriverOptions {
  if (given['driver'] !== undefined || given['type'] === undefined) return given as unknown as DriverOptions;
  return { driver: given['type'], ...(given['options'] as object | undefined) } as unknown as DriverOptions;
}

/** Splits 'driver/topic'. */
function placeOf(path: string, config: Config, place: unknown): readonly [driver: string, topic: string] {
  const at = typeof place === 'string' ? place.indexOf('/') : -1;
  if (at < 1) throw malformed(path, `from and to must be 'driver/topic', not ${JSON.stringify(place)}`);
  const [driver, topic] = [(place as string).slice(0, at), (place as string).slice(at + 1)];
  if (!config.drivers.has(driver)) throw malformed(path, `there is no driver '${driver}'`);
  return [driver, topic];
}

async function readConfig(path: string): Promise<Config> {
  let document: unknown;
  try {
    document = parse(await readFile(path, 'utf8'));
  } catch (error) {
    throw wrapError('INVALID_ARGUMENT', `${path} cannot be read`, error, { path });
  }
  const { drivers, forward: rules } = isObject(document) ? document : {};
  if (!isObject(drivers) || !Object.values(drivers).every(isObject)) {
    throw malformed(path, "'drivers' must name drivers and their options");
  }
  if (!Array.isArray(rules) || rules.length === 0 || !rules.every(isObject)) {
    throw malformed(path, "'forward' must be a list of rules with 'from' and 'to'");
  }
  const opened = Object.entries(drivers).map(([name, given]) => [name, driverOptions(given as never)] as const);
  const config = { drivers: new Map(opened), rules: rules as unknown as Rule[] };
  const seen = new Set<string>();
  for (const rule of config.rules) {
    checkKeys(`${path}: a rule`, rule, ruleKeys);
    placeOf(path, config, rule.from);
    placeOf(path, config, rule.to);
    const line = JSON.stringify([rule.from, rule.to, rule.consumer]);
    if (seen.has(line)) throw malformed(path, `two rules from ${rule.from} to ${rule.to}: give each its 'consumer'`);
    seen.add(line);
  }
  return config;
}

/** `dataSelector` is a factory in a module beside the configuration. */
async function optionsOf(rule: Rule, path: string): Promise<ForwardOptions> {
  const { data, keepPartition, consumer, dataSelector } = rule;
  const selector =
    dataSelector === undefined ? undefined : await loadModuleStage({ type: dataSelector }, [resolve(dirname(path))]);
  return {
    ...(consumer === undefined ? {} : { name: consumer }),
    ...(data === undefined ? {} : { data }),
    ...(keepPartition === undefined ? {} : { keepPartition }),
    ...(selector === undefined ? {} : { dataSelector: selector as DataSelectorFunction<unknown> }),
  };
}

function isEnded({ signal }: ForwardOptions): boolean {
  return signal?.aborted === true;
}

/** Runs a rule until its signal; tries again after errors that may pass. Returns how many events the last try copied. */
async function runRule(
  rule: Rule,
  options: ForwardOptions,
  open: (place: string) => ReturnType<Driver['openTopic']>,
): Promise<number> {
  for (;;) {
    try {
      return await forward(await open(rule.from), await open(rule.to), options);
    } catch (error) {
      const mayPass = error instanceof DiasporaError && error.retryable && !isEnded(options);
      // The other rules go on.
      note(`${rule.from} -> ${rule.to}: ${errorLine(error)}${mayPass ? '; trying again' : ''}`);
      if (!mayPass) throw error;
      await sleep(retryMs, undefined, options.signal === undefined ? {} : { signal: options.signal }).catch(
        () => undefined,
      );
      if (isEnded(options)) return 0;
    }
  }
}

async function run(config: Config, path: string, idleTimeoutMs: number | undefined): Promise<void> {
  const drivers = new Map<string, Driver>();
  try {
    for (const [name, options] of config.drivers) {
      const isFabric = options.driver === 'fabric' && options.onLog === undefined;
      drivers.set(name, await Driver.open(isFabric ? { ...options, onLog: noteLog } : options));
    }
    const options = await Promise.all(config.rules.map((rule) => optionsOf(rule, path)));
    const open = (place: string): ReturnType<Driver['openTopic']> => {
      const [driver, topic] = placeOf(path, config, place);
      return (drivers.get(driver) as Driver).openTopic(topic);
    };
    await untilInterrupted(async (signal) => {
      const rules = config.rules.map(async (rule, at) => {
        const limits = { signal, ...(idleTimeoutMs === undefined ? {} : { idleTimeoutMs }) };
        const count = await runRule(rule, { ...options[at], ...limits }, open);
        note(`${rule.from} -> ${rule.to}: ${count} event${count === 1 ? '' : 's'}`);
      });
      const results = await Promise.allSettled(rules);
      for (const result of results) if (result.status === 'rejected') throw result.reason;
    });
  } finally {
    await Promise.allSettled([...drivers.values()].map((driver) => driver.close()));
  }
}

export function forwardCommand(): Command {
  return new Command('forward')
    .description('Copy events between topics, by rules in a YAML file, until interrupted.')
    .requiredOption('--config <file>', 'drivers and rules')
    .option('--idle-timeout <ms>', 'end a rule when no event came for so long', parseTimeout)
    .addHelpText(
      'after',
      `
Example of a file:
  drivers:
    beamline: { driver: fabric, groupFile: group.json }
    archive:  { driver: embedded, data: ./archive }
  forward:
    - { from: beamline/scans, to: archive/scans, keepPartition: true }
    - { from: beamline/notes, to: archive/notes, data: false, consumer: notes-archive }
    - { from: beamline/scans, to: archive/headers, consumer: headers, dataSelector: 'header:./select.mjs' }

Paths of drivers are relative to the working directory, modules to the file. 'header:./select.mjs' calls the export
header of the module for a function (metadata, descriptor) => descriptor. Rules between the same two topics need
different consumers, which remember how far each has come.

Examples:
  $ diaspora forward --config rules.yaml
  $ diaspora forward --config rules.yaml --idle-timeout 1000`,
    )
    .action(async ({ config: path, idleTimeout }: { config: string; idleTimeout?: number }) =>
      run(await readConfig(path), path, idleTimeout),
    );
}
