/** `diaspora wait`: for scripts that start servers and go on when these are ready. */
import { Command } from 'commander';
import { DiasporaError } from '../errors.js';
import { parsePositive, parseTimeout } from './arguments.js';
import { type ConnectionOptions, driverOptions, openDriver } from './connection.js';
import { printLine } from './terminal.js';

interface WaitOptions extends Pick<ConnectionOptions, 'groupFile' | 'provider'> {
  readonly servers: number;
  readonly timeout: number;
}

async function wait({ servers, timeout, ...where }: WaitOptions): Promise<void> {
  if (!('groupFile' in (await driverOptions(where)))) {
    throw new DiasporaError('INVALID_ARGUMENT', 'say which group: --group-file FILE (or DIASPORA_GROUP_FILE)');
  }
  const driver = await openDriver({ ...where, waitFor: servers, connectTimeout: timeout });
  try {
    for (const server of driver.info.servers) await printLine(`${server.address} ${server.provider}`);
  } finally {
    await driver.close();
  }
}

export function waitCommand(): Command {
  return new Command('wait')
    .description('Wait until a group has its servers and all of them answer; prints their addresses.')
    .option('--group-file <file>', 'group file of the servers (env: DIASPORA_GROUP_FILE, DIASPORA_CTL_DRIVER_OPTIONS)')
    .option('--servers <n>', 'so many servers', parsePositive, 1)
    .option('--timeout <ms>', 'how long to wait', parseTimeout, 60_000)
    .option('--provider <name>', 'libfabric provider (default: auto)')
    .addHelpText(
      'after',
      `
Examples:
  $ srun --nodes=4 diaspora serve --data /local/$SLURM_JOB_ID --listen tcp://ib0:0 --group-file group.json --insecure &
  $ diaspora wait --group-file group.json --servers 4 && srun ./application`,
    )
    .action(wait);
}
