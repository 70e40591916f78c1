/** `diaspora fifo`: lets programs that know nothing but files produce and consume events, through named pipes. */
import { Command } from 'commander';
import { runFifoDaemon } from '../fifo/daemon.js';
import { parseWait } from './arguments.js';
import { addConnectionOptions, type ConnectionOptions, withDriver } from './connection.js';
import { errorLine, note, printLine, untilInterrupted } from './terminal.js';

interface FifoCommandOptions extends ConnectionOptions {
  readonly controlFile: string;
  readonly drainTimeout: number;
}

async function fifo(lines: readonly string[], options: FifoCommandOptions): Promise<void> {
  await untilInterrupted((stop) =>
    withDriver(options, (driver) =>
      runFifoDaemon(driver, {
        controlFile: options.controlFile,
        lines,
        drainMs: options.drainTimeout,
        stop,
        onReady: () => printLine(`taking control lines from ${options.controlFile}`),
        onNote: (subject, text) => note(`${subject}: ${text}`),
        onError: (subject, error) => note(`${subject}: ${errorLine(error)}`),
      }),
    ),
  );
}

export function fifoCommand(): Command {
  return addConnectionOptions(new Command('fifo'))
    .description('Attach named pipes to topics, as lines in a control pipe say, until interrupted.')
    .argument('[lines...]', 'control lines to begin with')
    .requiredOption('--control-file <file>', 'named pipe for control lines; it is made, and removed at the end')
    .option('--drain-timeout <ms>', 'at the end, how long to wait for pipes that are still in use', parseWait, 5000)
    .addHelpText(
      'after',
      `
Control lines:
  PATH -> TOPIC (format=raw|json, batch_size=N)             lines written to PATH become events
  PATH <- TOPIC (format=json|raw, batch_size=N, name=NAME)  events are written to PATH, one a line
Pipes are made where there is nothing. raw takes a line as text (the default of ->), json as JSON. An event that nobody
has read from PATH comes again after a restart; NAME is the consumer that remembers how far it was read.

Examples:
  $ diaspora fifo --control-file control --data ./store &
  $ echo 'readings -> notes (format=json)' > control
  $ echo 'view <- notes' > control
  $ cat view & echo '{"n":1}' > readings

  $ diaspora fifo --control-file control --group-file group.json 'readings -> notes' 'view <- notes'`,
    )
    .action(fifo);
}
