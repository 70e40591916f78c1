#!/usr/bin/env node
/**
 * The command line, `diaspora`: one file per command beside this one.
 *
 * Exit codes: 0 done or ended by Ctrl-C, 1 an operation failed (one line says what and what to do), 2 wrong usage.
 */
import { readFileSync } from 'node:fs';
import { Command, CommanderError } from 'commander';
import { benchCommand } from './bench.js';
import { consumeCommand } from './consume.js';
import { consumerCommand } from './consumer.js';
import { fifoCommand } from './fifo.js';
import { forwardCommand } from './forward.js';
import { infoCommand } from './info.js';
import { produceCommand } from './produce.js';
import { serveCommand } from './serve.js';
import { endWithOutput, errorLine, note } from './terminal.js';
import { topicCommand } from './topic.js';
import { waitCommand } from './wait.js';

const manifest = JSON.parse(readFileSync(new URL('../../../package.json', import.meta.url), 'utf8')) as {
  version: string;
};

const program = new Command('diaspora')
  .description('Event streaming for HPC: metadata and large data over libfabric, stored durably.')
  .version(manifest.version)
  .configureHelp({ showGlobalOptions: true })
  .showHelpAfterError('(add --help for the options and examples)')
  .addCommand(serveCommand())
  .addCommand(waitCommand())
  .addCommand(topicCommand())
  .addCommand(produceCommand())
  .addCommand(consumeCommand())
  .addCommand(consumerCommand())
  .addCommand(forwardCommand())
  .addCommand(fifoCommand())
  .addCommand(benchCommand())
  .addCommand(infoCommand())
  .addHelpText(
    'after',
    `
Examples:
  $ diaspora serve --data ./store --group-file group.json     start a server
  $ export DIASPORA_GROUP_FILE=group.json                     and in another terminal:
  $ diaspora topic create scans --partitions 2
  $ diaspora produce scans *.tif
  $ diaspora consume scans --out ./received

  $ diaspora topic create notes --data ./store                without a server
  $ echo '{"n":1}' | diaspora produce notes --data ./store`,
  );

/** Usage errors throw instead of ending the process with 1, in every command. */
function exitByException(command: Command): void {
  command.exitOverride();
  for (const child of command.commands) exitByException(child);
}

endWithOutput();
exitByException(program);
try {
  await program.parseAsync();
} catch (error) {
  if (error instanceof CommanderError) {
    // Commander has printed what there is to say; --help and --version come here too, with exit code 0.
    process.exitCode = error.exitCode === 0 ? 0 : 2;
  } else {
    note(errorLine(error));
    process.exitCode = 1;
  }
}
