/** `diaspora info`: what this host's libfabric offers, what would be chosen and why, and the limits. */
import { Command } from 'commander';
import { type FabricInfo, fabricInfo, type ProviderInfo } from '../fabric-info.js';
import { formatBytes, printLine } from './terminal.js';

interface InfoOptions {
  readonly provider: string;
  readonly json: boolean;
}

/** Between processes; `local` serves only drivers and servers of one process. */
function outsideProviders({ providers }: FabricInfo): ProviderInfo[] {
  return providers.filter(({ family }) => family !== 'local');
}

/** Left out by `auto`: see `provider` in DriverOptions. */
const byNameOnly = 'shm';

function providerLine({ name, version, messageBytesMax, hasWaitFd, sameHostOnly }: ProviderInfo): string {
  const wait = hasWaitFd ? 'sleeps on a descriptor' : 'woken by a doorbell';
  const reach = sameHostOnly ? 'same host only' : 'any host';
  return `  ${name.padEnd(14)} version ${version}, messages up to ${formatBytes(messageBytesMax)}, ${wait}, ${reach}`;
}

/** Which provider two hosts, and two processes of one host, would use. */
function choiceLines(info: FabricInfo, asked: string): string[] {
  const outside = outsideProviders(info);
  const [best] = outside;
  if (best === undefined) return ['chosen           none: only embedded drivers work'];
  const remote = outside.find(({ sameHostOnly }) => !sameHostOnly);
  const why = asked === 'auto' ? 'the fastest that both processes of one host have' : `asked for: ${asked}`;
  const far = remote === undefined || remote === best ? [] : [`between hosts    ${remote.name}`];
  return [`chosen           ${best.name}: ${why}`, ...far];
}

async function showInfo(options: InfoOptions): Promise<void> {
  const info = await fabricInfo(options.provider);
  if (options.json) {
    await printLine(JSON.stringify(info));
    return;
  }
  const named = options.provider === 'auto' ? outsideProviders(await fabricInfo(byNameOnly)) : [];
  const { library } = info;
  const found = 'path' in library ? `${library.version}, ${library.path}` : `not usable: ${library.message}`;
  const lines = [
    `libfabric        ${found}`,
    'providers, best first:',
    ...outsideProviders(info).map(providerLine),
    ...named.map((provider) => `${providerLine(provider)}, only by name`),
    ...choiceLines(info, options.provider),
    `limits           metadata of an event 1 MiB, data of a batch 1 GiB, partitions of a topic 1024`,
  ];
  for (const line of lines) await printLine(line);
}

export function infoCommand(): Command {
  return new Command('info')
    .description('Show libfabric, its usable providers, the one that would be chosen and why, and the limits.')
    .option('--provider <name>', 'ask for this provider in place of auto', 'auto')
    .option('--json', 'print one JSON object', false)
    .addHelpText('after', '\nExamples:\n  $ diaspora info\n  $ diaspora info --provider tcp --json')
    .action(showInfo);
}
