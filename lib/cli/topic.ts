/** `diaspora topic create | list | describe | delete`. */
import { Command, Option } from 'commander';
import { parseCount, parsePositive } from './arguments.js';
import { addConnectionOptions, type ConnectionOptions, withDriver } from './connection.js';
import { printLine } from './terminal.js';

interface CreateOptions extends ConnectionOptions {
  readonly partitions: number;
  readonly durability?: 'memory' | 'os' | 'sync';
  readonly manager: 'log' | 'memory';
}

function createCommand(): Command {
  return addConnectionOptions(new Command('create'), parseCount)
    .description('Create a topic.')
    .argument('<topic>', 'its name: 1 to 256 bytes without / \\ : and control characters')
    .option('--partitions <n>', 'number of partitions', parsePositive, 1)
    .addOption(
      new Option('--durability <when>', 'acknowledge events when they are in memory, at the OS, or synced')
        .choices(['memory', 'os', 'sync'])
        .default(undefined, 'sync; memory with --manager memory'),
    )
    .addOption(new Option('--manager <kind>', 'what keeps the events').choices(['log', 'memory']).default('log'))
    .addHelpText(
      'after',
      `
Examples:
  $ diaspora topic create scans --partitions 4 --group-file group.json
  $ diaspora topic create previews --manager memory --server 127.0.0.1:7000
  $ diaspora topic create notes --data ./store`,
    )
    .action((topic: string, options: CreateOptions) =>
      withDriver(options, async (driver) => {
        const { partitions, manager } = options;
        const durability = options.durability ?? (manager === 'memory' ? 'memory' : 'sync');
        await driver.createTopic(topic, { partitions, durability, manager });
        await printLine(`created ${topic}: ${partitions} partition${partitions === 1 ? '' : 's'}, ${durability}`);
      }),
    );
}

interface JsonOption {
  readonly json: boolean;
}

function listCommand(): Command {
  return addConnectionOptions(new Command('list'), parseCount)
    .description('List the topics, one a line.')
    .option('--json', 'print one JSON array', false)
    .addHelpText('after', '\nExample:\n  $ diaspora topic list --group-file group.json')
    .action((options: ConnectionOptions & JsonOption) =>
      withDriver(options, async (driver) => {
        const names = await driver.listTopics();
        if (options.json) await printLine(JSON.stringify(names));
        else for (const name of names) await printLine(name);
      }),
    );
}

function describeCommand(): Command {
  return addConnectionOptions(new Command('describe'), parseCount)
    .description('Show a topic: configuration, and for each partition its server and its events.')
    .argument('<topic>')
    .option('--json', 'print one JSON object', false)
    .addHelpText('after', '\nExample:\n  $ diaspora topic describe scans --group-file group.json')
    .action((name: string, options: ConnectionOptions & JsonOption) =>
      withDriver(options, async (driver) => {
        const topic = await driver.openTopic(name);
        const description = await topic.describe();
        if (options.json) {
          await printLine(
            JSON.stringify(description, (_, value) => (typeof value === 'bigint' ? Number(value) : value)),
          );
          return;
        }
        await printLine(`topic       ${description.name}`);
        await printLine(`manager     ${description.manager}`);
        await printLine(`durability  ${description.durability}`);
        for (const { partition, server, firstId, nextId } of description.partitions) {
          const events = nextId - firstId;
          await printLine(`partition ${partition}: ${events} events, ids ${firstId} to ${nextId} (next), on ${server}`);
        }
      }),
    );
}

function deleteCommand(): Command {
  return addConnectionOptions(new Command('delete'), parseCount)
    .description('Delete a topic and its events for good.')
    .argument('<topic>')
    .addHelpText('after', '\nExample:\n  $ diaspora topic delete scans --group-file group.json')
    .action((topic: string, options: ConnectionOptions) =>
      withDriver(options, async (driver) => {
        await driver.deleteTopic(topic);
        await printLine(`deleted ${topic}`);
      }),
    );
}

export function topicCommand(): Command {
  return new Command('topic')
    .description('Create, list, describe and delete topics.')
    .addCommand(createCommand())
    .addCommand(listCommand())
    .addCommand(describeCommand())
    .addCommand(deleteCommand())
    .addHelpText(
      'after',
      `
Examples:
  $ diaspora topic create scans --partitions 4 --group-file group.json
  $ diaspora topic list --data ./store`,
    );
}
