/** `diaspora consumer list`. */
import { Command } from 'commander';
import { parseCount } from './arguments.js';
import { addConnectionOptions, type ConnectionOptions, withDriver } from './connection.js';
import { printLine } from './terminal.js';

interface ListOptions extends ConnectionOptions {
  readonly name?: string;
  readonly json: boolean;
}

function listCommand(): Command {
  return addConnectionOptions(new Command('list'), parseCount)
    .description(
      'Show the consumers of a topic: how far each has acknowledged, and how many events it has to go (lag).',
    )
    .argument('<topic>')
    .option('--name <consumer>', 'only this one')
    .option('--json', 'print one JSON array', false)
    .addHelpText(
      'after',
      `
Examples:
  $ diaspora consumer list scans --group-file group.json
  $ diaspora consumer list scans --name analysis --json --data ./store | jq '.[0].lag'`,
    )
    .action((topicName: string, options: ListOptions) =>
      withDriver(options, async (driver) => {
        const consumers = await (await driver.openTopic(topicName)).consumers(options.name);
        if (options.json) {
          await printLine(JSON.stringify(consumers, (_, value) => (typeof value === 'bigint' ? Number(value) : value)));
          return;
        }
        for (const { name, positions, lag } of consumers) {
          await printLine(`${name}: lag ${lag}`);
          for (const { partition, nextId, lag: rest } of positions) {
            await printLine(`  partition ${partition}: next ${nextId}, lag ${rest}`);
          }
        }
      }),
    );
}

export function consumerCommand(): Command {
  return new Command('consumer')
    .description('Show the consumers of a topic.')
    .addCommand(listCommand())
    .addHelpText('after', '\nExample:\n  $ diaspora consumer list scans --group-file group.json');
}
