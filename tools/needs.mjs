// What a compiled addon needs of the system that loads it: libraries, and the newest version of each of their symbols.
//
//   node tools/needs.mjs FILE.node
import { resolve } from 'node:path';
import { runMain, runQuiet, SetupError } from './setup.mjs';

/** `{ libraries, versions }`: names as the dynamic linker wants them; GLIBC -> '2.34' and the like. */
export function needsOf(file) {
  const dynamic = runQuiet('readelf', ['--dynamic', '--wide', file]);
  const libraries = [...dynamic.matchAll(/\(NEEDED\).*\[(.+)\]/g)].map((match) => match[1]);
  const section = runQuiet('readelf', ['--version-info', '--wide', file]).split('.gnu.version_r')[1] ?? '';
  const versions = new Map();
  for (const [, kind, version] of section.matchAll(/Name: ([A-Z]+)_([\d.]+)/g)) {
    const known = versions.get(kind);
    if (known === undefined || known.localeCompare(version, 'en', { numeric: true }) < 0) versions.set(kind, version);
  }
  return { libraries, versions };
}

export function describeNeeds({ libraries, versions }) {
  const newest = [...versions].map(([kind, version]) => `${kind} ${version}`);
  return `needs ${newest.join(', ')} or newer; libraries ${libraries.join(' ')}; libfabric.so.1 at run time`;
}

if (process.argv[1] === import.meta.filename) {
  await runMain(() => {
    const [file] = process.argv.slice(2);
    if (file === undefined) throw new SetupError('usage: needs.mjs FILE.node');
    process.stdout.write(`${describeNeeds(needsOf(resolve(file)))}\n`);
  });
}
