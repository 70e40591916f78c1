// Checks that native/sources.gypi and the tree agree: every native .cc that ships is listed exactly once, in sorted
// order, every listed file exists, and no tests, benchmarks, fuzzers or native/testing files are listed.
import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';

const root = join(import.meta.dirname, '..');
const { variables } = JSON.parse(readFileSync(join(root, 'native/sources.gypi'), 'utf8'));
const problems = [];

const onDisk = readdirSync(join(root, 'native'), { recursive: true })
  .map((file) => `native/${file}`)
  .filter((file) => file.endsWith('.cc'))
  .filter((file) => !/_(test|bench|fuzz)\.cc$/.test(file) && !file.startsWith('native/testing/'));

function checkList(name, belongs) {
  const list = variables[name];
  const seen = new Set();
  for (const file of list) {
    if (seen.has(file)) problems.push(`${file} is listed twice in ${name}`);
    seen.add(file);
    if (!existsSync(join(root, file))) problems.push(`${file} is listed in ${name} but does not exist`);
    else if (!onDisk.includes(file)) problems.push(`${file} must not be listed: it is for tests only`);
    if (!belongs(file)) problems.push(`${file} does not belong into ${name}`);
  }
  for (const file of onDisk.filter(belongs)) if (!seen.has(file)) problems.push(`${file} is not listed in ${name}`);
  if (list.join('\n') !== list.toSorted().join('\n')) problems.push(`${name} is not sorted`);
}

const isAddon = (file) => file.startsWith('native/node/');
checkList('core_sources', (file) => !isAddon(file));
checkList('addon_sources', isAddon);

for (const problem of problems) process.stderr.write(`native/sources.gypi: ${problem}\n`);
process.stdout.write(`sources: ${onDisk.length} files checked, ${problems.length} problems\n`);
process.exitCode = problems.length === 0 ? 0 : 1;
