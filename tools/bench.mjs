// `npm run bench`: sets the clone up, builds the native benchmarks (the raw ceilings) and runs bench/index.ts.
import { spawnSync } from 'node:child_process';
import { join } from 'node:path';
import { buildNative, root, runMain, setUp } from './setup.mjs';

await runMain(() => {
  setUp();
  buildNative('build-bench', { CMAKE_BUILD_TYPE: 'Release', DIASPORA_TESTS: 'OFF', DIASPORA_BENCH: 'ON' });
  const env = { ...process.env, DIASPORA_NATIVE_BENCH_DIR: join(root, 'build-bench') };
  const main = join(root, 'dist/bench/index.js');
  return spawnSync(process.execPath, [main, ...process.argv.slice(2)], { stdio: 'inherit', env }).status ?? 1;
});
