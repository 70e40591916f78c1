// `npm run prebuild`: compiles the addon for this platform into prebuilds/<platform>-<arch>/ (prebuildify, N-API, stripped)
// and checks that the result loads on its own.
//
// The prebuild needs no compiler, no libfabric headers and no C++ runtime of its own where it is used: libstdc++ is linked
// in, libfabric.so.1 is opened at run time. It needs the glibc of the machine that built it or a newer one, so releases
// are built on an old one. Built in build-prebuild/ because node-gyp empties its build folder, which is cmake-js's here.
import { spawnSync } from 'node:child_process';
import { cpSync, existsSync, mkdirSync, readdirSync, realpathSync, rmSync, symlinkSync } from 'node:fs';
import { dirname, join } from 'node:path';
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

await runMain(() => {
  setUp();
  fillStage();
  const headers = headersOfRunningNode();
  const env = { ...process.env, ...(headers === undefined ? {} : { npm_config_nodedir: headers }) };
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
  process.stdout.write(`prebuilds/${process.platform}-${process.arch}/${file}\n`);
});
