/** The options that every client command shares (which servers, or which directory) and the driver that they open. */
import { Command, CommanderError, Option } from 'commander';
import { split } from 'shlex';
import { Driver, type DriverOptions } from '../driver.js';
import { DiasporaError } from '../errors.js';
import { parsePositive, parseTimeout } from './arguments.js';
import {
  type ConnectionOptions,
  collectDriverOption,
  foldDriverOptions,
  mergeDriverOptions,
} from './driver-options.js';
import { noteLog } from './terminal.js';

export type { ConnectionOptions } from './driver-options.js';

/** Options for every command that opens a driver, written as on its command line. */
export const driverOptionsVariable = 'DIASPORA_CTL_DRIVER_OPTIONS';

/** Adds the options of {@link ConnectionOptions}; none has a default, so that what is given can be told. */
export function addConnectionOptions(command: Command): Command {
  const parseOptions = command.parseOptions.bind(command);
  command.parseOptions = (args) => parseOptions(foldDriverOptions(args));
  return command
    .option('--group-file <file>', 'group file of the servers (env: DIASPORA_GROUP_FILE)')
    .addOption(new Option('--server <address...>', 'servers as host:port, in place of a group file').conflicts('data'))
    .addOption(new Option('--data <dir>', 'no servers: use this directory inside this process').conflicts('server'))
    .option(
      '--driver <kind>',
      `embedded or fabric; --driver.KEY VALUE sets its options (env: ${driverOptionsVariable})`,
    )
    .option('--driver-config <file>', 'options of the driver, a JSON object')
    .addOption(new Option('--driver-option <key=value>').argParser(collectDriverOption).hideHelp())
    .option('--provider <name>', 'libfabric provider (default: auto)')
    .option('--domain <name>', 'adapter (mlx5_0) or interface (ib0) to move data through, or several with commas')
    .option('--modules <dir...>', 'directories from which stages of topics may be loaded')
    .option('--connect-timeout <ms>', 'how long to wait for a server (default: 10000)', parseTimeout)
    .option('--wait-for <n>', 'wait until the group file names so many servers', parsePositive);
}

function setVariable(name: string): string | undefined {
  const text = process.env[name];
  return text === undefined || text.trim() === '' ? undefined : text;
}

/** What the environment variable says. INVALID_ARGUMENT, with its name, for what a command line would not take. */
function optionsOfVariable(): ConnectionOptions {
  const text = setVariable(driverOptionsVariable);
  if (text === undefined) return {};
  const reader = addConnectionOptions(new Command().helpOption(false).exitOverride());
  reader.configureOutput({ writeErr: () => undefined });
  try {
    return reader.parse(split(text), { from: 'user' }).opts<ConnectionOptions>();
  } catch (cause) {
    const reason = cause instanceof CommanderError ? cause.message.replace(/^error: /, '') : (cause as Error).message;
    throw new DiasporaError('INVALID_ARGUMENT', `${driverOptionsVariable}: ${reason}`, { cause });
  }
}

/** Runs `work`; an error of it names the environment variable, which had part in it. */
async function blamingVariable<T>(isUsed: boolean, work: () => Promise<T>): Promise<T> {
  try {
    return await work();
  } catch (error) {
    if (!isUsed || !(error instanceof DiasporaError)) throw error;
    throw new DiasporaError(error.code, `${error.message} (with options from ${driverOptionsVariable})`, {
      ...error,
      cause: error,
    });
  }
}

/** The options for Driver.open that the command line and the environment say together. INVALID_ARGUMENT without a place. */
export async function driverOptions(given: ConnectionOptions): Promise<DriverOptions> {
  const variable = optionsOfVariable();
  const groupFile = setVariable('DIASPORA_GROUP_FILE');
  const sources = [given, variable, groupFile === undefined ? {} : { groupFile }];
  const options = await blamingVariable(variable.driverConfig !== undefined, () => mergeDriverOptions(sources));
  if (options !== undefined) return options;
  throw new DiasporaError(
    'INVALID_ARGUMENT',
    'say where the topics are: --group-file FILE (or DIASPORA_GROUP_FILE), --server HOST:PORT or --data DIR',
  );
}

/** Opens the driver that the command line and the environment name. */
export async function openDriver(given: ConnectionOptions): Promise<Driver> {
  const options = await driverOptions(given);
  const logged = options.driver === 'fabric' ? { onLog: noteLog, ...options } : options;
  return blamingVariable(setVariable(driverOptionsVariable) !== undefined, () => Driver.open(logged));
}

/** Opens the driver, runs `work`, and closes the driver whatever happened. */
export async function withDriver(options: ConnectionOptions, work: (driver: Driver) => Promise<void>): Promise<void> {
  const driver = await openDriver(options);
  try {
    await work(driver);
  } finally {
    await driver.close();
  }
}
