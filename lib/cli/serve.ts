/** `diaspora serve`: one partition server, until Ctrl-C. */
import { rename, rm, writeFile } from 'node:fs/promises';
import { Command } from 'commander';
import { Driver } from '../driver.js';
import { awaitGroup } from '../drivers/fabric.js';
import { DiasporaError } from '../errors.js';
import { Server } from '../server.js';
import { parseBytes, parseCount, parsePositive } from './arguments.js';
import { aborted, note, noteLog, printLine, untilInterrupted } from './terminal.js';

interface ServeOptions {
  readonly data?: string;
  readonly listen: string;
  readonly advertise?: string;
  readonly groupFile?: string;
  readonly provider: string;
  readonly domain?: string;
  readonly memory?: number;
  readonly readyFile?: string;
  readonly waitFor?: number;
  readonly waitTimeout: number;
  readonly insecure: boolean;
  readonly json: boolean;
}

/** How long Ctrl-C may go unnoticed while the group is incomplete, milliseconds. */
const attemptMs = 1000;

/** Resolves when the group has its servers and all others answer, over whatever provider, or when interrupted. */
async function awaitOthers(own: string, options: ServeOptions, interrupted: AbortSignal): Promise<void> {
  const { groupFile, waitFor } = options;
  if (waitFor === undefined) return;
  if (groupFile === undefined) throw new DiasporaError('INVALID_ARGUMENT', '--wait-for needs a --group-file');
  const deadline = performance.now() + options.waitTimeout;
  while (!interrupted.aborted) {
    const connectTimeoutMs = Math.max(1, Math.min(attemptMs, Math.ceil(deadline - performance.now())));
    try {
      const others = (await awaitGroup(groupFile, waitFor, connectTimeoutMs)).filter(({ uuid }) => uuid !== own);
      if (others.length === 0) return;
      const servers = others.map(({ address }) => address);
      const driver = await Driver.open({ driver: 'fabric', servers, connectTimeoutMs });
      await driver.close();
      return;
    } catch (error) {
      if (!(error instanceof DiasporaError) || !error.retryable || performance.now() >= deadline) throw error;
    }
  }
}

/** Whoever sees the file sees all of it. */
async function writeReadyFile(path: string, text: string): Promise<void> {
  const aside = `${path}.${process.pid}.new`;
  await writeFile(aside, `${text}\n`);
  await rename(aside, path);
}

async function serve(options: ServeOptions): Promise<void> {
  // One that a killed server left behind would tell a lie.
  if (options.readyFile !== undefined) await rm(options.readyFile, { force: true });
  await untilInterrupted(async (interrupted) => {
    const server = await Server.start({
      listen: options.listen,
      provider: options.provider,
      insecure: options.insecure,
      onLog: noteLog,
      ...(options.domain === undefined ? {} : { domain: options.domain }),
      ...(options.advertise === undefined ? {} : { advertise: options.advertise }),
      ...(options.data === undefined ? {} : { data: options.data }),
      ...(options.groupFile === undefined ? {} : { groupFile: options.groupFile }),
      ...(options.memory === undefined ? {} : { memoryBytes: options.memory }),
    });
    try {
      const { address, uuid } = server;
      const providers = server.providers.map(({ name }) => name);
      const place = options.data ?? 'memory only';
      const ready = `listening on ${address}, providers ${providers.join(' ')}, data in ${place}, server ${uuid}`;
      const told = JSON.stringify({ address, uuid, pid: process.pid, providers, data: options.data ?? null });
      await awaitOthers(uuid, options, interrupted);
      if (!interrupted.aborted) {
        await printLine(options.json ? told : ready);
        if (options.readyFile !== undefined) await writeReadyFile(options.readyFile, told);
      }
      await aborted(interrupted);
      if (!options.json) note('stopping ...');
    } finally {
      if (options.readyFile !== undefined) await rm(options.readyFile, { force: true });
      const counters = server.counters();
      await server.close();
      if (options.json) await printLine(JSON.stringify({ counters }));
    }
  });
}

export function serveCommand(): Command {
  return new Command('serve')
    .description('Serve partitions from a directory until Ctrl-C. Prints one line when ready.')
    .option('--data <dir>', 'where topics and events are kept (default: memory only, gone at the end)')
    .option('--listen <address>', 'address for clients; port 0 takes a free one', 'tcp://127.0.0.1:0')
    .option('--advertise <host>', 'host that clients shall connect to, without a port (default: the one listened on)')
    .option('--group-file <file>', 'join the group in this file, which is created if need be; clients read it')
    .option('--provider <name>', 'libfabric provider, or several with commas', 'auto')
    .option(
      '--domain <name>',
      'adapter (mlx5_0) or interface (ib0) to move data through, or several with commas (default: that of --listen)',
    )
    .option('--memory <bytes>', 'bound on the memory for events, for example 2GiB', parseBytes)
    .option('--insecure', 'allow an address beyond this host without authentication', false)
    .option('--ready-file <file>', 'written when ready (the ready line as JSON), removed when it stops')
    .option('--wait-for <n>', 'be ready only when the group has so many servers and the others answer', parsePositive)
    .option('--wait-timeout <ms>', 'how long to wait for them', parseCount, 60_000)
    .option('--json', 'print the ready line, and the counters at the end, as JSON', false)
    .addHelpText(
      'after',
      `
Examples:
  $ diaspora serve --data ./store --group-file group.json
  $ diaspora serve --data /scratch/s1 --listen tcp://10.0.0.5:7000 --group-file /shared/group.json --insecure
  $ diaspora serve --listen tcp://ib0:0 --group-file /shared/group.json --wait-for 4 --ready-file ready --insecure
  Several servers with one group file form one group; topics are spread over them.`,
    )
    .action(serve);
}
