/** `diaspora serve`: one partition server, until Ctrl-C. */
import { Command } from 'commander';
import { Server } from '../server.js';
import { parseBytes } from './arguments.js';
import { aborted, note, printLine, untilInterrupted } from './terminal.js';

interface ServeOptions {
  readonly data?: string;
  readonly listen: string;
  readonly advertise?: string;
  readonly groupFile?: string;
  readonly provider: string;
  readonly memory?: number;
  readonly insecure: boolean;
  readonly json: boolean;
}

async function serve(options: ServeOptions): Promise<void> {
  await untilInterrupted(async (interrupted) => {
    const server = await Server.start({
      listen: options.listen,
      provider: options.provider,
      insecure: options.insecure,
      onLog: ({ level, message }) => note(`${level}: ${message}`),
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
      await printLine(options.json ? JSON.stringify({ address, uuid, providers, data: options.data ?? null }) : ready);
      await aborted(interrupted);
      if (!options.json) note('stopping ...');
    } finally {
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
    .option('--advertise <host>', 'host that clients shall connect to (default: the one listened on)')
    .option('--group-file <file>', 'join the group in this file, which is created if need be; clients read it')
    .option('--provider <name>', 'libfabric provider, or several with commas', 'auto')
    .option('--memory <bytes>', 'bound on the memory for events, for example 2GiB', parseBytes)
    .option('--insecure', 'allow an address beyond this host without authentication', false)
    .option('--json', 'print the ready line, and the counters at the end, as JSON', false)
    .addHelpText(
      'after',
      `
Examples:
  $ diaspora serve --data ./store --group-file group.json
  $ diaspora serve --data /scratch/s1 --listen tcp://10.0.0.5:7000 --group-file /shared/group.json --insecure
  Several servers with one group file form one group; topics are spread over them.`,
    )
    .action(serve);
}
