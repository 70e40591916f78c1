/** `diaspora info`: what this host's libfabric offers, what would be chosen and why, and the limits. */
import { Command } from 'commander';
import { fabricInfo } from '../fabric-info.js';
import { printLine } from './terminal.js';

export function infoCommand(): Command {
  return new Command('info')
    .description('Show libfabric, its usable providers, the one that auto would choose and why, and the limits.')
    .option('--provider <name>', 'ask for this provider in place of auto', 'auto')
    .option('--json', 'print one JSON object', false)
    .addHelpText('after', '\nExamples:\n  $ diaspora info\n  $ diaspora info --provider tcp --json')
    .action(async (options: { provider: string; json: boolean }) => {
      const info = await fabricInfo(options.provider);
      if (options.json) await printLine(JSON.stringify(info));
      else await printLine(JSON.stringify(info, null, 2));
    });
}
