/** `diaspora topic create | list | describe | add-partitions | complete | delete`. */
import { Command, InvalidArgumentError, Option } from 'commander';
import type { Driver } from '../driver.js';
import type { StageOptions } from '../stages/types.js';
import type { Retention } from '../topic-handle.js';
import { parseBytes, parseDuration, parsePositive } from './arguments.js';
import { addConnectionOptions, type ConnectionOptions, withDriver } from './connection.js';
import { addStageOptions, dottedOptions, type GivenStages, readStages, stagePrefixes } from './stage-options.js';
import { formatBytes, printLine } from './terminal.js';

interface TopicSettings {
  readonly partitions: number;
  readonly durability?: 'memory' | 'os' | 'sync';
  readonly manager: 'log' | 'memory';
  readonly compression?: 'none' | 'zstd';
  readonly retention: Retention;
}

interface CreateOptions extends ConnectionOptions, GivenStages, Omit<TopicSettings, 'retention'> {
  readonly retentionAge?: number;
  readonly retentionBytes?: number;
}

/** `--topic.num_partitions 4` is how the reference spells --partitions. createTopic checks the values. */
function overridden(options: CreateOptions, dotted: Readonly<Record<string, unknown>> = {}): TopicSettings {
  const known = ['num_partitions', 'partitions', 'durability', 'manager', 'compression', 'retention'];
  const unknown = Object.keys(dotted).find((key) => !known.includes(key));
  if (unknown !== undefined) throw new InvalidArgumentError(`unknown option '--topic.${unknown}'`);
  const {
    num_partitions: partitions = options.partitions,
    retention,
    ...rest
  } = dotted as Partial<TopicSettings> & { readonly num_partitions?: number };
  const { retentionAge: ageMs, retentionBytes: bytes } = options;
  const bounds = { ...(ageMs === undefined ? {} : { ageMs }), ...(bytes === undefined ? {} : { bytes }) };
  return { ...options, partitions, retention: { ...bounds, ...retention }, ...rest };
}

async function create(topic: string, options: CreateOptions, command: Command): Promise<void> {
  let settings: TopicSettings;
  let stages: StageOptions;
  try {
    const dotted = dottedOptions(command.args.slice(1), ['topic', ...stagePrefixes]);
    settings = overridden(options, dotted.get('topic'));
    stages = await readStages(options, dotted);
  } catch (error) {
    if (error instanceof InvalidArgumentError) command.error(`error: ${error.message}`);
    throw error;
  }
  await withDriver(options, async (driver) => {
    const { partitions, manager, retention } = settings;
    const durability = settings.durability ?? (manager === 'memory' ? 'memory' : 'sync');
    const { compression = 'none' } = settings;
    await driver.createTopic(topic, { ...stages, partitions, durability, manager, compression, retention });
    await printLine(`created ${topic}: ${partitions} partition${partitions === 1 ? '' : 's'}, ${durability}`);
  });
}

function createCommand(): Command {
  return addStageOptions(addConnectionOptions(new Command('create')))
    .description('Create a topic.')
    .argument('<topic>', 'its name: 1 to 256 bytes without / \\ : and control characters')
    .option('--partitions <n>', 'number of partitions', parsePositive, 1)
    .addOption(
      new Option(
        '--durability <when>',
        'acknowledge events when they are in memory, at the OS, or synced (default: sync; memory with --manager memory)',
      ).choices(['memory', 'os', 'sync']),
    )
    .addOption(new Option('--manager <kind>', 'what keeps the events').choices(['log', 'memory']).default('log'))
    .addOption(
      new Option('--compression <kind>', 'of the metadata of batches').choices(['none', 'zstd']).default('none'),
    )
    .option('--retention-age <time>', 'drop events older than this, for example 90s, 12h, 7d', parseDuration)
    .option('--retention-bytes <bytes>', 'drop the oldest events of a partition above this, as 512MiB', parseBytes)
    .addHelpText(
      'after',
      `
Examples:
  $ diaspora topic create scans --partitions 4 --group-file group.json
  $ diaspora topic create frames --retention-age 7d --retention-bytes 200GiB --group-file group.json
  $ diaspora topic create previews --manager memory --server 127.0.0.1:7000
  $ diaspora topic create notes --data ./store
  $ diaspora topic create collisions --partitions 4 --data ./store --validator-config energy.json \\
      --partition-selector range --partition-selector.path energy --partition-selector.bounds 25,50,75
  $ diaspora topic create runs --data ./store --modules ./stages --validator run_validator:./run.mjs --validator.max 9`,
    )
    .action(create);
}

interface JsonOption {
  readonly json: boolean;
}

async function summarize(driver: Driver, topic: string): Promise<Record<string, string | number>> {
  const { name, state, partitions, manager, durability } = await (await driver.openTopic(topic)).describe();
  return { name, state, partitions: partitions.length, manager, durability };
}

function listCommand(): Command {
  return addConnectionOptions(new Command('list'))
    .description('List the topics, one a line.')
    .option('-v, --verbose', 'with state, number of partitions, manager and durability', false)
    .option('--json', 'print one JSON array', false)
    .addHelpText(
      'after',
      `
Examples:
  $ diaspora topic list --group-file group.json
  $ diaspora topic list --verbose --json --data ./store | jq -r '.[] | select(.state == "complete").name'`,
    )
    .action((options: ConnectionOptions & JsonOption & { readonly verbose: boolean }) =>
      withDriver(options, async (driver) => {
        const names = await driver.listTopics();
        const rows = options.verbose ? await Promise.all(names.map((name) => summarize(driver, name))) : names;
        if (options.json) await printLine(JSON.stringify(rows));
        else for (const row of rows) await printLine(typeof row === 'string' ? row : Object.values(row).join('  '));
      }),
    );
}

function describeCommand(): Command {
  return addConnectionOptions(new Command('describe'))
    .description('Show a topic: configuration, and for each partition its server and its events.')
    .argument('<topic>')
    .option('--json', 'print one JSON object', false)
    .addHelpText('after', '\nExample:\n  $ diaspora topic describe scans --group-file group.json')
    .action((name: string, options: ConnectionOptions & JsonOption) =>
      withDriver(options, async (driver) => {
        const topic = await driver.openTopic(name);
        const description = await topic.describe();
        const { validator, partitionSelector, serializer, compression } = topic;
        const stages = { validator, partitionSelector, serializer };
        if (options.json) {
          await printLine(
            JSON.stringify({ ...description, ...stages, compression }, (_, value) =>
              typeof value === 'bigint' ? Number(value) : value,
            ),
          );
          return;
        }
        await printLine(`topic       ${description.name}`);
        await printLine(`state       ${description.state}`);
        await printLine(`manager     ${description.manager}`);
        await printLine(`durability  ${description.durability}`);
        if (typeof compression === 'object')
          await printLine(`compression ${compression.type}, level ${compression.level}`);
        const { ageMs, bytes } = description.retention;
        if (ageMs !== undefined) await printLine(`kept for    ${ageMs} ms`);
        if (bytes !== undefined) await printLine(`kept up to  ${formatBytes(bytes)} a partition`);
        for (const [key, { type, ...config }] of Object.entries(stages)) {
          const name = key === 'partitionSelector' ? 'selector' : key;
          if (type === 'default') continue;
          const details = Object.keys(config).length === 0 ? '' : ` ${JSON.stringify(config)}`;
          await printLine(`${name.padEnd(11)} ${type}${details}`);
        }
        for (const { partition, server, firstId, nextId } of description.partitions) {
          const events = nextId - firstId;
          await printLine(`partition ${partition}: ${events} events, ids ${firstId} to ${nextId} (next), on ${server}`);
        }
      }),
    );
}

function addPartitionsCommand(): Command {
  return addConnectionOptions(new Command('add-partitions'))
    .description('Add partitions to a topic. Clients that have it open see them when they open it again.')
    .argument('<topic>')
    .requiredOption('--partitions <n>', 'how many it has then', parsePositive)
    .addHelpText('after', '\nExample:\n  $ diaspora topic add-partitions scans --partitions 8 --group-file group.json')
    .action((topic: string, options: ConnectionOptions & { readonly partitions: number }) =>
      withDriver(options, async (driver) => {
        await driver.addPartitions(topic, options.partitions);
        await printLine(`${topic} has ${options.partitions} partitions`);
      }),
    );
}

function completeCommand(): Command {
  return addConnectionOptions(new Command('complete'))
    .description('Complete a topic: it takes no more events, and its consumers end behind the last one.')
    .argument('<topic>')
    .addHelpText('after', '\nExample:\n  $ diaspora topic complete scans --group-file group.json')
    .action((topic: string, options: ConnectionOptions) =>
      withDriver(options, async (driver) => {
        await driver.completeTopic(topic);
        await printLine(`completed ${topic}`);
      }),
    );
}

function deleteCommand(): Command {
  return addConnectionOptions(new Command('delete'))
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
    .description('Create, list, describe, extend, complete and delete topics.')
    .addCommand(createCommand())
    .addCommand(listCommand())
    .addCommand(describeCommand())
    .addCommand(addPartitionsCommand())
    .addCommand(completeCommand())
    .addCommand(deleteCommand())
    .addHelpText(
      'after',
      `
Examples:
  $ diaspora topic create scans --partitions 4 --group-file group.json
  $ diaspora topic list --data ./store`,
    );
}
