// `npm run test:package`: packs the package with a fresh prebuild, installs the tarball into an empty directory with
// install scripts off (npm's default from version 12) and uses it from there: the README's example, a server and a
// client over the command line, and a build from the packed sources when the prebuild is taken away.
//
//   npm run test:package -- [--nodes 20,22,24]     these versions of Node as well, from npm, use the same prebuild
import { spawnSync } from 'node:child_process';
import { existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { parseArgs } from 'node:util';
import { npmRun, root, runMain, SetupError, setUp } from './setup.mjs';

/** The README's first JavaScript block: what a reader pastes is what is tested. */
function readmeExample() {
  const match = /```js\n([\s\S]*?)```/.exec(readFileSync(join(root, 'README.md'), 'utf8'));
  if (match === null) throw new SetupError('README.md has no ```js block');
  return match[1];
}

/** Runs the example and checks what it printed: 100 events, each with its own energy and 8000 bytes. */
function runExample(use, node = process.execPath) {
  rmSync(join(use, 'diaspora-data'), { recursive: true, force: true });
  writeFileSync(join(use, 'main.mjs'), readmeExample());
  const lines = run(node, ['main.mjs'], { cwd: use }).trim().split('\n');
  const energies = new Set(lines.filter((line) => line.endsWith(' 8000')).map((line) => line.split(' ')[2]));
  if (lines.length !== 100 || energies.size !== 100)
    throw new SetupError(`the README's example printed:\n${lines.join('\n')}`);
}

// What is tested is the package, not an addon that the environment names.
const { DIASPORA_ADDON: _, ...environment } = process.env;

function run(command, args, options) {
  const result = spawnSync(command, args, { encoding: 'utf8', env: environment, ...options });
  if (result.error) throw result.error;
  if (result.status !== 0)
    throw new SetupError(`${command} ${args.join(' ')} failed:\n${result.stdout}${result.stderr}`);
  return result.stdout;
}

/** The command line, as a shell finds it: by its first line, so with the first `node` in PATH. */
function runCli(use, node = process.execPath) {
  rmSync(join(use, 'store'), { recursive: true, force: true });
  const cli = join(use, 'node_modules/.bin/diaspora');
  const env = { ...environment, PATH: `${dirname(node)}:${environment.PATH}` };
  run(cli, ['topic', 'create', 'notes', '--data', 'store'], { cwd: use, env });
  run(cli, ['produce', 'notes', '--data', 'store'], { cwd: use, env, input: '{"n":1}\n{"n":2}\n' });
  const lines = run(cli, ['consume', 'notes', '--data', 'store', '--json', '--max', '2'], { cwd: use, env })
    .trim()
    .split('\n');
  const numbers = lines.map((line) => JSON.parse(line).metadata.n).join(' ');
  if (numbers !== '1 2') throw new SetupError(`the command line gave back ${lines.join(' ')}`);
}

/** The binary of a major version of Node, from npm, kept in build/nodes. */
function otherNode(major) {
  const name = `node-${process.platform}-${process.arch}`;
  const place = join(root, 'build/nodes', major);
  const binary = join(place, 'node_modules', name, 'bin/node');
  if (!existsSync(binary)) {
    const [npm, args] = npmRun('install', '--prefix', place, '--no-audit', '--no-fund', `${name}@${major}`);
    run(npm, args, { cwd: root });
  }
  return binary;
}

function checkContents(files) {
  const wanted = [
    'dist/lib/index.js',
    'dist/lib/index.d.ts',
    'dist/lib/cli/main.js',
    'dist/lib/stages/stage-worker.js',
    'binding.gyp',
    'native/sources.gypi',
    'LICENSE',
  ];
  for (const file of wanted) if (!files.includes(file)) throw new SetupError(`the tarball lacks ${file}`);
  if (!files.some((file) => /^prebuilds\/.*\.node$/.test(file))) throw new SetupError('the tarball has no prebuild');
  const stray = files.find((file) =>
    /(^|\/)(test|bench|examples|tools|build)\/|_(test|bench|fuzz)\.cc$|^native\/testing\//.test(file),
  );
  if (stray) throw new SetupError(`the tarball holds ${stray}, which nobody needs who installs it`);
}

const { values } = parseArgs({ options: { nodes: { type: 'string', default: '' } } });

await runMain(() => {
  setUp();
  const nodes = values.nodes.split(',').filter(Boolean).map(otherNode);
  run(process.execPath, [join(root, 'tools/prebuild.mjs')], { cwd: root });
  const place = mkdtempSync(join(tmpdir(), 'diaspora-package-'));
  try {
    const [npm, packArgs] = npmRun('pack', '--json', '--ignore-scripts', '--pack-destination', place);
    const [packed] = JSON.parse(run(npm, packArgs, { cwd: root }));
    checkContents(packed.files.map((file) => file.path));
    process.stdout.write(
      `package: ${packed.filename}, ${packed.files.length} files, ${(packed.size / 2 ** 20).toFixed(2)} MiB\n`,
    );

    const use = join(place, 'use');
    run('mkdir', [use]);
    writeFileSync(join(use, 'package.json'), '{ "name": "use", "private": true, "type": "module" }\n');
    const [, installArgs] = npmRun(
      'install',
      '--ignore-scripts',
      '--no-audit',
      '--no-fund',
      join(place, packed.filename),
    );
    run(npm, installArgs, { cwd: use });
    runExample(use);
    process.stdout.write("package: the README's example works as pasted\n");

    runCli(use);
    process.stdout.write('package: command line works\n');

    for (const node of nodes) {
      runExample(use, node);
      runCli(use, node);
      const version = run(node, ['--version']).trim();
      process.stdout.write(`package: example and command line work with Node ${version}, by the same prebuild\n`);
    }

    const installed = join(use, 'node_modules/diaspora-stream');
    rmSync(join(installed, 'prebuilds'), { recursive: true });
    const [, buildArgs] = npmRun('run', 'build:from-source');
    run(npm, buildArgs, { cwd: installed, env: { ...environment, JOBS: 'max' } });
    runExample(use);
    process.stdout.write('package: builds from its own sources\n');
  } finally {
    rmSync(place, { recursive: true, force: true });
  }
});
