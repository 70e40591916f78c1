/** `diaspora consumer list | lag | reset`. */
import { Command, InvalidArgumentError } from 'commander';
import { parseEach } from './arguments.js';
import { addConnectionOptions, type ConnectionOptions, withDriver } from './connection.js';
import { printLine } from './terminal.js';

interface ResetOptions extends ConnectionOptions {
  readonly to: bigint | 'beginning' | 'end';
  readonly partition?: readonly number[];
}

function parsePlace(text: string): bigint | 'beginning' | 'end' {
  if (text === 'beginning' || text === 'end') return text;
  if (/^\d+$/.test(text)) return BigInt(text);
  throw new InvalidArgumentError("'beginning', 'end' or an event id is expected.");
}

function resetCommand(): Command {
  return addConnectionOptions(new Command('reset'))
    .description('Set how far a consumer has come, also back. It must not be reading.')
    .argument('<topic>')
    .argument('<consumer>')
    .requiredOption('--to <place>', "'beginning', 'end' or the id of the first event to read", parsePlace)
    .option('--partition <n...>', 'only these partitions', parseEach)
    .addHelpText(
      'after',
      `
Examples:
  $ diaspora consumer reset scans analysis --to beginning --group-file group.json
  $ diaspora consumer reset scans analysis --to 4000 --partition 2 --data ./store`,
    )
    .action((topicName: string, consumer: string, options: ResetOptions) =>
      withDriver(options, async (driver) => {
        await (await driver.openTopic(topicName)).resetConsumer(consumer, options.to, options.partition);
        await printLine(`${consumer}: reset to ${options.to}`);
      }),
    );
}

function lagCommand(): Command {
  return addConnectionOptions(new Command('lag'))
    .description(
      'Print how many events a consumer has to go, as one number: all, when nothing was acknowledged under its name.',
    )
    .argument('<topic>')
    .argument('<consumer>')
    .addHelpText('after', '\nExample:\n  $ diaspora consumer lag scans analysis --group-file group.json')
    .action((topicName: string, consumer: string, options: ConnectionOptions) =>
      withDriver(options, async (driver) => {
        const topic = await driver.openTopic(topicName);
        const [known] = await topic.consumers(consumer);
        if (known !== undefined) return printLine(String(known.lag));
        // Nothing was acknowledged: it has all of it to go.
        const { partitions } = await topic.describe();
        return printLine(String(partitions.reduce((sum, { firstId, nextId }) => sum + nextId - firstId, 0n)));
      }),
    );
}

interface ListOptions extends ConnectionOptions {
  readonly name?: string;
  readonly json: boolean;
}

function listCommand(): Command {
  return addConnectionOptions(new Command('list'))
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
    .description('Show and set how far the consumers of a topic have come.')
    .addCommand(listCommand())
    .addCommand(lagCommand())
    .addCommand(resetCommand())
    .addHelpText(
      'after',
      `
Examples:
  $ diaspora consumer list scans --group-file group.json
  $ diaspora consumer lag scans analysis --group-file group.json
  $ diaspora consumer reset scans analysis --to beginning --group-file group.json`,
    );
}
