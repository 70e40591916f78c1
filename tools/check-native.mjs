// Compiles everything native with clang-19 (-Wthread-safety, warnings are errors) and runs clang-tidy-19 on every
// source that ships (`npm run check:native`, part of CI). File names as arguments: tidy only those.
import { spawnSync } from 'node:child_process';
import { existsSync, readFileSync } from 'node:fs';
import { availableParallelism } from 'node:os';
import { join } from 'node:path';
import { buildNative, root, runMain, SetupError, setUp } from './setup.mjs';

await runMain(() => {
  for (const tool of ['clang++-19', 'clang-tidy-19', 'run-clang-tidy-19']) {
    if (spawnSync(tool, ['--help'], { stdio: 'ignore' }).error) {
      throw new SetupError(`${tool} is not installed: sudo apt-get install clang-19 clang-tidy-19`);
    }
  }
  setUp({ tests: true });
  buildNative('build-clang', { CMAKE_CXX_COMPILER: 'clang++-19', CMAKE_BUILD_TYPE: 'Debug' });
  const { variables } = JSON.parse(readFileSync(join(root, 'native/sources.gypi'), 'utf8'));
  const all = [...variables.core_sources, ...variables.addon_sources];
  const files = process.argv.length > 2 ? process.argv.slice(2) : all;
  for (const file of files) if (!existsSync(join(root, file))) throw new SetupError(`${file} does not exist`);
  const args = ['-p', join(root, 'build-clang'), '-j', String(availableParallelism()), '-quiet'];
  const patterns = files.map((file) => `^${join(root, file).replaceAll('.', '\\.')}$`);
  return spawnSync('run-clang-tidy-19', [...args, ...patterns], { cwd: root, stdio: 'inherit' }).status ?? 1;
});
