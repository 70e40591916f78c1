/** The options that every client command shares (which servers, or which directory) and the driver that they open. */
import { type Command, Option } from 'commander';
import { Driver } from '../driver.js';
import { DiasporaError } from '../errors.js';
import { parsePositive } from './arguments.js';
import { noteLog } from './terminal.js';

export interface ConnectionOptions {
  readonly groupFile?: string;
  readonly server?: string[];
  readonly data?: string;
  readonly provider: string;
  readonly domain?: string;
  readonly modules?: string[];
  readonly connectTimeout: number;
  readonly waitFor?: number;
}

/** Adds --group-file, --server, --data, --provider, --domain, --modules, --connect-timeout and --wait-for. */
export function addConnectionOptions(command: Command, parseMilliseconds: (text: string) => number): Command {
  return command
    .addOption(new Option('--group-file <file>', 'group file of the servers').env('DIASPORA_GROUP_FILE'))
    .addOption(new Option('--server <address...>', 'servers as host:port, in place of a group file').conflicts('data'))
    .addOption(new Option('--data <dir>', 'no servers: use this directory inside this process').conflicts('server'))
    .option('--provider <name>', 'libfabric provider', 'auto')
    .option('--domain <name>', 'adapter (mlx5_0) or interface (ib0) to move data through, or several with commas')
    .option('--modules <dir...>', 'directories from which stages of topics may be loaded')
    .option('--connect-timeout <ms>', 'how long to wait for a server', parseMilliseconds, 10_000)
    .option('--wait-for <n>', 'wait until the group file names so many servers', parsePositive);
}

/** Opens the driver that the options name; an explicit --server or --data comes before the environment's group file. */
export async function openDriver(options: ConnectionOptions): Promise<Driver> {
  const modules = options.modules === undefined ? {} : { modules: options.modules };
  const common = {
    ...modules,
    provider: options.provider,
    connectTimeoutMs: options.connectTimeout,
    onLog: noteLog,
    ...(options.domain === undefined ? {} : { domain: options.domain }),
  };
  if (options.data !== undefined) return Driver.open({ driver: 'embedded', data: options.data, ...modules });
  if (options.server !== undefined) return Driver.open({ driver: 'fabric', servers: options.server, ...common });
  if (options.groupFile !== undefined) {
    const group = {
      groupFile: options.groupFile,
      ...(options.waitFor === undefined ? {} : { minServers: options.waitFor }),
    };
    return Driver.open({ driver: 'fabric', ...group, ...common });
  }
  throw new DiasporaError(
    'INVALID_ARGUMENT',
    'say where the topics are: --group-file FILE (or DIASPORA_GROUP_FILE), --server HOST:PORT or --data DIR',
  );
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
