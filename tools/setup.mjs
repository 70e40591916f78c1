// Self-set-up of a clone: npm packages, system packages, error table, TypeScript and addon; each only when out of date.
//
// Runs before node_modules exists, so it uses Node built-ins only. Prints a line for each step that has work; the full
// output goes to build/setup.log and its end is shown when a step fails. Never touches anything outside the clone
// except through the system's package manager, and that only as root or with a sudo that asks nothing.
import { spawnSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import { appendFileSync, existsSync, mkdirSync, readdirSync, readFileSync, statSync, writeFileSync } from 'node:fs';
import { availableParallelism } from 'node:os';
import { join, relative } from 'node:path';
import { fileURLToPath } from 'node:url';

export const root = join(import.meta.dirname, '..');
const logPath = join(root, 'build/setup.log');
const nodeVersionMin = [20, 17];

/** A failure that the user can act on: printed as its message alone. */
export class SetupError extends Error {}

function say(text) {
  process.stderr.write(`setup: ${text}\n`);
}

/** Runs a command with its output in the log; throws with the end of that output when it fails. */
export function runQuiet(command, args, options = {}) {
  mkdirSync(join(root, 'build'), { recursive: true });
  const result = spawnSync(command, args, { cwd: root, encoding: 'utf8', maxBuffer: 1 << 28, ...options });
  const output = `${result.stdout ?? ''}${result.stderr ?? ''}`;
  appendFileSync(logPath, `$ ${command} ${args.join(' ')}\n${output}\n`);
  if (result.error?.code === 'ENOENT') throw new SetupError(`${command} is not installed`);
  if (result.error) throw result.error;
  if (result.status !== 0) {
    const end = output.trimEnd().split('\n').slice(-40).join('\n');
    throw new SetupError(
      `${end}\n${command} ${args.join(' ')} failed; the whole output is in ${relative(process.cwd(), logPath)}`,
    );
  }
  return output;
}

function succeeds(command, args, options = {}) {
  return spawnSync(command, args, { stdio: 'ignore', ...options }).status === 0;
}

function step(name, work) {
  say(`${name} ...`);
  const start = Date.now();
  work();
  say(`${name}: done in ${((Date.now() - start) / 1000).toFixed(1)} s`);
}

// --- what is out of date -------------------------------------------------------------------------------------------

function* filesBelow(path) {
  const stat = statSync(join(root, path), { throwIfNoEntry: false });
  if (stat === undefined) return;
  if (!stat.isDirectory()) {
    yield [path, stat];
    return;
  }
  for (const name of readdirSync(join(root, path)).sort()) yield* filesBelow(join(path, name));
}

/** Changes when any file below `paths` is added, removed or written. */
function fingerprint(paths) {
  const hash = createHash('sha256').update(`${process.platform} ${process.arch}\n`);
  for (const path of paths) {
    for (const [file, stat] of filesBelow(path)) hash.update(`${file} ${stat.size} ${stat.mtimeMs}\n`);
  }
  return hash.digest('hex');
}

/** Runs `work` unless `stampPath` holds the fingerprint that the last successful run left there. */
function whenStale(name, stampPath, paths, work) {
  const stamp = join(root, stampPath);
  const wanted = fingerprint(paths);
  if (existsSync(stamp) && readFileSync(stamp, 'utf8') === wanted) return;
  step(name, work);
  writeFileSync(stamp, wanted);
}

// --- system packages -----------------------------------------------------------------------------------------------

const packageManagers = [
  {
    command: 'apt-get',
    install: ['install', '-y', '--no-install-recommends'],
    refresh: ['update'],
    packages: { compiler: 'g++', make: 'make', cmake: 'cmake', fabric: 'libfabric-dev', gtest: 'libgtest-dev' },
  },
  {
    command: 'dnf',
    install: ['install', '-y'],
    refresh: ['makecache'],
    packages: { compiler: 'gcc-c++', make: 'make', cmake: 'cmake', fabric: 'libfabric-devel', gtest: 'gtest-devel' },
  },
  {
    command: 'zypper',
    install: ['--non-interactive', 'install'],
    refresh: ['--non-interactive', 'refresh'],
    packages: { compiler: 'gcc-c++', make: 'make', cmake: 'cmake', fabric: 'libfabric-devel', gtest: 'gtest' },
  },
];

/** Which of the things that a build needs are missing, in the order in which they are found out. */
function missingTools(withTests) {
  const compiler = process.env.CXX ?? 'c++';
  const compiles = (...args) => succeeds(compiler, ['-std=c++20', '-fsyntax-only', '-x', 'c++', ...args, '/dev/null']);
  const missing = [];
  if (!compiles()) missing.push('compiler');
  if (!succeeds('make', ['--version']) && !succeeds('ninja', ['--version'])) missing.push('make');
  if (!succeeds('cmake', ['--version'])) missing.push('cmake');
  // Without a compiler these tell nothing; then both are installed with it, which does no harm.
  if (!compiles('-include', 'rdma/fabric.h')) missing.push('fabric');
  if (withTests && !compiles('-include', 'gtest/gtest.h')) missing.push('gtest');
  return missing;
}

function ensureSystemPackages(withTests) {
  const missing = missingTools(withTests);
  if (missing.length === 0) return;
  const manager = packageManagers.find(({ command }) => succeeds(command, ['--version']));
  if (manager === undefined) {
    throw new SetupError(
      'please install a C++20 compiler, make, cmake, the libfabric headers (rdma/fabric.h) and, for the tests, GoogleTest',
    );
  }
  const names = missing.map((tool) => manager.packages[tool]);
  const asRoot = process.getuid?.() === 0;
  if (!asRoot && !succeeds('sudo', ['-n', 'true'])) {
    throw new SetupError(`please run: sudo ${manager.command} ${manager.install.join(' ')} ${names.join(' ')}`);
  }
  const [command, prefix] = asRoot ? [manager.command, []] : ['sudo', ['-n', manager.command]];
  const env = { ...process.env, DEBIAN_FRONTEND: 'noninteractive' };
  step(`installing ${names.join(' ')}`, () => {
    const install = [...prefix, ...manager.install, ...names];
    // A fresh image has no package lists, an old one stale ones: refresh them only when they turn out to be needed.
    if (succeeds(command, install, { env })) return;
    runQuiet(command, [...prefix, ...manager.refresh], { env });
    runQuiet(command, install, { env });
  });
  const still = missingTools(withTests);
  if (still.length > 0)
    throw new SetupError(`installed ${names.join(' ')}, but the build still cannot use: ${still.join(', ')}`);
}

// --- the steps -----------------------------------------------------------------------------------------------------

export function npmRun(...args) {
  // The npm that runs us, when one does: the same version, and no search in PATH.
  const npm = process.env.npm_execpath;
  return npm === undefined ? ['npm', args] : [process.execPath, [npm, ...args]];
}

function ensureNode() {
  const [major, minor] = process.versions.node.split('.').map(Number);
  if (major < nodeVersionMin[0] || (major === nodeVersionMin[0] && minor < nodeVersionMin[1])) {
    throw new SetupError(`Node ${nodeVersionMin.join('.')} or newer is needed, this is ${process.versions.node}`);
  }
}

function ensureNpmPackages() {
  const stamp = join(root, 'node_modules/.diaspora-setup');
  const wanted = createHash('sha256')
    .update(readFileSync(join(root, 'package-lock.json')))
    .digest('hex');
  if (existsSync(stamp) && readFileSync(stamp, 'utf8') === wanted) return;
  step('installing npm packages', () => runQuiet(...npmRun('ci', '--ignore-scripts', '--no-audit', '--no-fund')));
  writeFileSync(stamp, wanted);
}

export function buildTypeScript() {
  const inputs = ['lib', 'test', 'bench', 'examples', 'tsconfig.json', 'package.json', 'native/base/error_codes.def'];
  runQuiet(process.execPath, ['tools/generate-error-codes.mjs']);
  mkdirSync(join(root, 'dist'), { recursive: true });
  whenStale('compiling TypeScript', 'dist/.stamp', inputs, () => {
    runQuiet(process.execPath, ['node_modules/typescript/bin/tsc', '-p', 'tsconfig.json']);
  });
}

export function buildAddon() {
  mkdirSync(join(root, 'build/Release'), { recursive: true });
  whenStale(
    'compiling the native addon (a minute at first)',
    'build/Release/.stamp',
    ['native', 'CMakeLists.txt', 'cmake'],
    () => {
      const args = ['node_modules/cmake-js/bin/cmake-js', 'compile', '--CDCMAKE_BUILD_TYPE=Release'];
      runQuiet(process.execPath, [...args, '--parallel', String(availableParallelism())]);
    },
  );
}

/** Configures and builds the CMake project without Node in `directory`. */
export function buildNative(directory, definitions) {
  const build = join(root, directory);
  mkdirSync(build, { recursive: true });
  const options = Object.entries(definitions).map(([name, value]) => `-D${name}=${value}`);
  step(`compiling the native core in ${directory}`, () => {
    runQuiet('cmake', ['-S', root, '-B', build, ...options]);
    runQuiet('cmake', ['--build', build, '--parallel', String(availableParallelism())]);
  });
}

/** Brings the clone up to date. `tests`: also what the native tests need. */
export function setUp({ tests = false } = {}) {
  mkdirSync(join(root, 'build'), { recursive: true });
  writeFileSync(logPath, '');
  ensureNode();
  ensureSystemPackages(tests);
  ensureNpmPackages();
  buildTypeScript();
  buildAddon();
}

/** Runs a tool's main function: a SetupError becomes one message and exit code 1. */
export async function runMain(main) {
  try {
    process.exitCode = (await main()) ?? 0;
  } catch (error) {
    if (!(error instanceof SetupError)) throw error;
    process.stderr.write(`${error.message}\n`);
    process.exitCode = 1;
  }
}

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  await runMain(() => setUp({ tests: process.argv.includes('--tests') }));
}
