// `npm run demo`: sets the clone up and runs the demo with the arguments given after `--`.
import { spawn } from 'node:child_process';
import { join } from 'node:path';
import { root, runMain, setUp } from './setup.mjs';

await runMain(async () => {
  setUp();
  const child = spawn(process.execPath, [join(root, 'dist/examples/demo/main.js'), ...process.argv.slice(2)], {
    stdio: 'inherit',
  });
  // The terminal's Ctrl-C reaches the demo itself, which stops its own children; we only wait for its exit code.
  process.on('SIGINT', () => {});
  process.on('SIGTERM', () => child.kill('SIGTERM'));
  return new Promise((resolve, reject) => {
    child.once('error', reject);
    child.once('exit', (code, signal) => resolve(signal === null ? code : 1));
  });
});
