// Checks who may include or import whom (the tree in ARCHITECTURE.md), so that layers hold by more than good will.
//
// native: a folder may include itself, the folders below it, and system headers; only native/fabric includes <rdma/...>,
// only native/node includes the Node headers; tests may also include native/testing.
// lib: index.ts only re-exports; nothing imports lib/cli or lib/index.ts except the command line itself; only
// lib/native.ts loads the addon.
import { readdirSync, readFileSync } from 'node:fs';
import { dirname, join, normalize } from 'node:path';

const root = join(import.meta.dirname, '..');
const problems = [];

const nativeUses = {
  base: [],
  wire: ['base'],
  fabric: ['base'],
  log: ['base', 'wire'],
  partition: ['base', 'wire', 'log'],
  session: ['base', 'wire', 'fabric'],
  client: ['base', 'wire', 'fabric', 'session'],
  server: ['base', 'wire', 'fabric', 'session', 'partition'],
  node: ['base', 'wire', 'fabric', 'log', 'partition', 'session', 'client', 'server'],
  testing: ['base', 'wire', 'fabric', 'log', 'partition', 'session', 'client', 'server'],
};
const nativeFolders = Object.keys(nativeUses);
const isTestFile = (file) => /_(test|bench|fuzz)(_kit)?\.(cc|h)$/.test(file);

function filesBelow(folder, ...suffixes) {
  return readdirSync(join(root, folder), { recursive: true })
    .map((file) => join(folder, file))
    .filter((file) => suffixes.some((suffix) => file.endsWith(suffix)))
    .sort();
}

/** [line number, captured text] of every match of a pattern with one group. */
function* matches(file, pattern) {
  for (const [index, line] of readFileSync(join(root, file), 'utf8').split('\n').entries()) {
    const match = pattern.exec(line);
    if (match) yield [index + 1, match[1]];
  }
}

function checkInclude(file, folder, included) {
  const target = included.split('/')[0];
  if (included.startsWith('rdma/')) return folder === 'fabric' ? '' : 'only native/fabric may include libfabric';
  if (/^(napi|node_api|js_native_api|v8|uv|node)(\.h|-)/.test(included)) {
    return folder === 'node' ? '' : 'only native/node may include the Node headers';
  }
  if (!nativeFolders.includes(target) || target === folder) return '';
  if (nativeUses[folder].includes(target)) return '';
  if (isTestFile(file) && (target === 'testing' || nativeUses.testing.includes(target))) return '';
  return `native/${folder} may not use native/${target}`;
}

const nativeFiles = filesBelow('native', '.h', '.cc');
for (const file of nativeFiles) {
  const folder = file.split('/')[1];
  if (!nativeFolders.includes(folder)) problems.push(`${file}: unknown folder native/${folder}`);
  else {
    for (const [line, included] of matches(file, /^\s*#\s*include\s*["<]([^">]+)[">]/)) {
      const problem = checkInclude(file, folder, included);
      if (problem) problems.push(`${file}:${line}: ${included}: ${problem}`);
    }
  }
}

function checkImport(file, specifier) {
  const fromCli = file.startsWith('lib/cli/');
  if (specifier === 'node-gyp-build') return file === 'lib/native.ts' ? '' : 'only lib/native.ts loads the addon';
  if (specifier === 'commander') return fromCli ? '' : 'only lib/cli parses command lines';
  if (!specifier.startsWith('.')) return '';
  const target = normalize(join(dirname(file), specifier));
  if (!target.startsWith('lib/')) return 'lib may only import from lib';
  if (fromCli) return '';
  if (target.startsWith('lib/cli/')) return 'only the command line may import lib/cli';
  if (target === 'lib/index.js') return 'lib/index.ts is for users, import the file that defines the noun';
  return '';
}

const libFiles = filesBelow('lib', '.ts');
for (const file of libFiles) {
  for (const [line, specifier] of matches(file, /\b(?:from|import\()\s*'([^']+)'/)) {
    const problem = checkImport(file, specifier);
    if (problem) problems.push(`${file}:${line}: ${specifier}: ${problem}`);
  }
}

// What remains of index.ts without comments and `export ... from` must be nothing.
if (libFiles.includes('lib/index.ts')) {
  const rest = readFileSync(join(root, 'lib/index.ts'), 'utf8')
    .replaceAll(/\/\*[\s\S]*?\*\/|\/\/.*$/gm, '')
    .replaceAll(/export\s+(type\s+)?(\{[^}]*\}|\*)\s+from\s+'[^']+';/g, '');
  if (rest.trim() !== '')
    problems.push(`lib/index.ts: only named re-exports belong here, not: ${rest.trim().split('\n')[0]}`);
}

for (const problem of problems) process.stderr.write(`${problem}\n`);
process.stdout.write(`layering: ${nativeFiles.length + libFiles.length} files checked, ${problems.length} problems\n`);
process.exitCode = problems.length === 0 ? 0 : 1;
