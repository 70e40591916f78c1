/** `diaspora wait`: for scripts that start servers and go on when these are ready. */
import { Command, Option } from 'commander';
import { Driver } from '../driver.js';
import { parseCount, parsePositive } from './arguments.js';
import { noteLog, printLine } from './terminal.js';

interface WaitOptions {
  readonly groupFile: string;
  readonly servers: number;
  readonly timeout: number;
  readonly provider: string;
}

async function wait({ groupFile, servers, timeout, provider }: WaitOptions): Promise<void> {
  const group = { driver: 'fabric', groupFile, minServers: servers } as const;
  const driver = await Driver.open({
    ...group,
    connectTimeoutMs: timeout,
    provider,
    onLog: noteLog,
  });
  try {
    for (const server of driver.info.servers) await printLine(`${server.address} ${server.provider}`);
  } finally {
    await driver.close();
  }
}

export function waitCommand(): Command {
  return new Command('wait')
    .description('Wait until a group has its servers and all of them answer; prints their addresses.')
    .addOption(
      new Option('--group-file <file>', 'group file of the servers').env('DIASPORA_GROUP_FILE').makeOptionMandatory(),
    )
    .option('--servers <n>', 'so many servers', parsePositive, 1)
    .option('--timeout <ms>', 'how long to wait', parseCount, 60_000)
    .option('--provider <name>', 'libfabric provider', 'auto')
    .addHelpText(
      'after',
      `
Examples:
  $ srun --nodes=4 diaspora serve --data /local/$SLURM_JOB_ID --listen tcp://ib0:0 --group-file group.json --insecure &
  $ diaspora wait --group-file group.json --servers 4 && srun ./application`,
    )
    .action(wait);
}
