// `npm run fuzz`: builds every native/**/*_fuzz.cc with clang-19, libFuzzer and AddressSanitizer and runs each for a while
// (`--seconds N`, default 60). Inputs found are kept in build-fuzz/corpus/<name>; a crash leaves its input there and fails.
import { spawnSync } from 'node:child_process';
import { mkdirSync, readdirSync } from 'node:fs';
import { basename, join } from 'node:path';
import { parseArgs } from 'node:util';
import { buildNative, root, runMain, SetupError, setUp } from './setup.mjs';

const { values } = parseArgs({ options: { seconds: { type: 'string', default: '60' } } });

await runMain(() => {
  if (!(Number(values.seconds) > 0)) throw new SetupError('--seconds must be a number of seconds');
  setUp();
  const definitions = {
    DIASPORA_FUZZ: 'ON',
    DIASPORA_TESTS: 'OFF',
    DIASPORA_BENCH: 'OFF',
    DIASPORA_SANITIZE: 'address',
  };
  buildNative('build-fuzz', { CMAKE_CXX_COMPILER: 'clang++-19', ...definitions });
  const fuzzers = readdirSync(join(root, 'native'), { recursive: true })
    .filter((file) => file.endsWith('_fuzz.cc'))
    .map((file) => basename(file, '.cc'))
    .sort();
  if (fuzzers.length === 0) throw new SetupError('there is no native/**/*_fuzz.cc');
  for (const fuzzer of fuzzers) {
    const corpus = join(root, 'build-fuzz/corpus', fuzzer);
    mkdirSync(corpus, { recursive: true });
    const args = [
      corpus,
      `-max_total_time=${values.seconds}`,
      `-artifact_prefix=${corpus}/`,
      '-verbosity=0',
      '-print_final_stats=1',
    ];
    const { status, stderr } = spawnSync(join(root, 'build-fuzz', fuzzer), args, { cwd: root, encoding: 'utf8' });
    process.stdout.write(`fuzz: ${fuzzer}: ${status === 0 ? `nothing found in ${values.seconds} s` : 'FAILED'}\n`);
    if (status !== 0)
      throw new SetupError(`${stderr}\nthe input that breaks ${fuzzer} is in build-fuzz/corpus/${fuzzer}`);
  }
});
