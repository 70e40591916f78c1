// `npm test`: sets the clone up, runs the TypeScript tests (node:test) and the native ones (ctest), and ends with each
// runner's own summary.
//
// Options: --only ts|native, --sanitize address|thread (native only), file names (TypeScript tests to run, default all).
import { spawn } from 'node:child_process';
import { readdirSync } from 'node:fs';
import { availableParallelism } from 'node:os';
import { join, relative, resolve } from 'node:path';
import { parseArgs } from 'node:util';
import { buildNative, root, runMain, SetupError, setUp } from './setup.mjs';

const { values, positionals } = parseArgs({
  options: { only: { type: 'string' }, sanitize: { type: 'string', default: '' } },
  allowPositionals: true,
});

const buildFolders = { '': 'build-test', address: 'build-asan', thread: 'build-tsan' };
const sanitizerEnvironment = {
  ASAN_OPTIONS: 'detect_stack_use_after_return=1:strict_string_checks=1',
  UBSAN_OPTIONS: 'print_stacktrace=1',
  TSAN_OPTIONS: 'halt_on_error=1:second_deadlock_stack=1',
};

/** Runs a command, shows its output as it comes and returns it with the exit code. */
function runShown(command, args, options) {
  return new Promise((resolve, reject) => {
    const child = spawn(command, args, { cwd: root, stdio: ['ignore', 'pipe', 'inherit'], ...options });
    let text = '';
    child.stdout.setEncoding('utf8');
    child.stdout.on('data', (part) => {
      text += part;
      process.stdout.write(part);
    });
    child.once('error', reject);
    child.once('close', (code) => resolve({ code: code ?? 1, text }));
  });
}

function testFiles() {
  if (positionals.length > 0) return positionals.map((file) => relative(root, resolve(file)));
  return readdirSync(join(root, 'test'), { recursive: true })
    .filter((file) => file.endsWith('.test.ts'))
    .map((file) => join('test', file))
    .sort();
}

async function testTypeScript() {
  const files = testFiles().map((file) => join('dist', file.replace(/\.ts$/, '.js')));
  if (files.length === 0) throw new SetupError('no TypeScript tests were found');
  // 10 minutes is a watchdog against hangs, not a bound on speed.
  const args = ['--expose-gc', '--enable-source-maps', '--test', '--test-reporter=spec', '--test-timeout=600000'];
  const { code, text } = await runShown(process.execPath, [...args, ...files], {});
  const summary = text
    .split('\n')
    .filter((line) => /^ℹ (tests|suites|pass|fail|cancelled|skipped|todo|duration_ms) /.test(line));
  return { name: 'TypeScript tests (node:test)', code, summary };
}

async function testNative(sanitize) {
  const folder = buildFolders[sanitize];
  if (folder === undefined) throw new SetupError(`--sanitize ${sanitize}: use address or thread`);
  buildNative(folder, { DIASPORA_SANITIZE: sanitize, DIASPORA_BENCH: 'OFF' });
  const args = ['--test-dir', join(root, folder), '--output-on-failure', '--no-tests=error'];
  args.push('--parallel', String(availableParallelism()));
  const { code, text } = await runShown('ctest', args, { env: { ...sanitizerEnvironment, ...process.env } });
  const summary = text.split('\n').filter((line) => /tests passed|Total Test time|\*\*\*/.test(line));
  return { name: `native tests (ctest${sanitize && `, ${sanitize} sanitizer`})`, code, summary };
}

await runMain(async () => {
  const { only, sanitize } = values;
  if (only !== undefined && only !== 'ts' && only !== 'native')
    throw new SetupError(`--only ${only}: use ts or native`);
  setUp({ tests: only !== 'ts' });
  const results = [];
  if (only !== 'native') results.push(await testTypeScript());
  if (only !== 'ts') results.push(await testNative(sanitize));
  for (const { name, code, summary } of results) {
    process.stdout.write(`\n== ${name}: ${code === 0 ? 'passed' : 'FAILED'}\n${summary.join('\n')}\n`);
  }
  return results.every(({ code }) => code === 0) ? 0 : 1;
});
