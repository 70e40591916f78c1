// Checks the formatting of native/ with clang-format-19 (`--write`: formats it). A missing tool is a failure.
import { spawnSync } from 'node:child_process';
import { readdirSync } from 'node:fs';
import { join } from 'node:path';
import { root, runMain, SetupError } from './setup.mjs';

await runMain(() => {
  const files = readdirSync(join(root, 'native'), { recursive: true })
    .map((file) => join('native', file))
    .filter((file) => /\.(cc|h)$/.test(file));
  const mode = process.argv.includes('--write') ? ['-i'] : ['--dry-run', '--Werror'];
  const result = spawnSync('clang-format-19', [...mode, ...files], { cwd: root, stdio: 'inherit' });
  if (result.error) throw new SetupError('clang-format-19 is not installed: sudo apt-get install clang-format-19');
  return result.status;
});
