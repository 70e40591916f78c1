// `npm run prebuild`: compiles the addon for this platform into prebuilds/<platform>-<arch>/ (prebuildify, N-API, stripped)
// and checks that the result loads on its own.
//
// The prebuild needs no compiler, no libfabric headers and no C++ runtime of its own where it is used: libstdc++ is linked
// in, libfabric.so.1 is opened at run time. It needs the glibc of the machine that built it or a newer one, so releases
// are built on an old one. `--libfabric FILE` puts a copy of that library beside the addon, for hosts without one: the
// system's is tried first, because it knows the host's network. Built in build-prebuild/ because node-gyp empties its build folder, which is cmake-js's here.
import { spawnSync } from 'node:child_process';
import { cpSync, existsSync, mkdirSync, readdirSync, realpathSync, rmSync, symlinkSync } from 'node:fs';
import { dirname, join, resolve } from 'node:path';
import { parseArgs } from 'node:util';
import { describeNeeds, needsOf } from './needs.mjs';
import { root, runMain, runQuiet, SetupError, setUp } from './setup.mjs';

const stage = join(root, 'build-prebuild');

/** The running Node's own headers, so that node-gyp downloads nothing; undefined where Node was installed without them. */
function headersOfRunningNode() {
  const directory = dirname(dirname(realpathSync(process.execPath)));
  return existsSync(join(directory, 'include/node/node_api.h')) ? directory : undefined;
}

function fillStage() {
  rmSync(stage, { recursive: true, force: true });
  mkdirSync(stage, { recursive: true });
  for (const path of ['native', 'binding.gyp', 'package.json'])
    cpSync(join(root, path), join(stage, path), { recursive: true });
  symlinkSync(join(root, 'node_modules'), join(stage, 'node_modules'));
}

const { values } = parseArgs({ options: { libfabric: { type: 'string' } } });

await runMain(() => {
  const bundled = values.libfabric === undefined ? undefined : resolve(values.libfabric);
  if (bundled !== undefined && !existsSync(bundled)) throw new SetupError(`${values.libfabric} does not exist`);
  setUp();
  fillStage();
  const headers = headersOfRunningNode();
  // JOBS: node-gyp compiles one file at a time unless told otherwise.
  const env = { ...process.env, JOBS: 'max', ...(headers === undefined ? {} : { npm_config_nodedir: headers }) };
  process.stderr.write('prebuild: compiling ...\n');
  const bin = join(root, 'node_modules/prebuildify/bin.js');
  runQuiet(process.execPath, [bin, '--napi', '--strip', '--tag-libc', '--cwd', stage, '--out', root], {
    cwd: stage,
    env,
  });

  const folder = join(root, 'prebuilds', `${process.platform}-${process.arch}`);
  const [file] = readdirSync(folder).filter((name) => name.endsWith('.node'));
  if (file === undefined) throw new SetupError(`prebuildify left no .node file in ${folder}`);
  const load = spawnSync(process.execPath, ['-e', 'require(process.argv[1])', join(folder, file)], {
    encoding: 'utf8',
  });
  if (load.status !== 0) throw new SetupError(`${file} does not load:\n${load.stderr}`);
  // The name under which native/fabric/library.cc looks for it. A copy of the file, not of a link to it.
  if (bundled !== undefined) cpSync(realpathSync(bundled), join(folder, 'libfabric.so.1'));
  const needs = needsOf(join(folder, file));
  process.stdout.write(`prebuilds/${process.platform}-${process.arch}/${file}: ${describeNeeds(needs)}\n`);
  if (needs.versions.has('GLIBCXX')) throw new SetupError('it needs a C++ runtime, which is to be linked in');
});
