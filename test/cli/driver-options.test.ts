import assert from 'node:assert/strict';
import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { test } from 'node:test';
import { collectDriverOption, foldDriverOptions, mergeDriverOptions } from '../../lib/cli/driver-options.js';
import { failInOneLine, place, succeed } from '../support/command-line.js';
import { temporaryDirectory } from '../support/temporary.js';

const variable = 'DIASPORA_CTL_DRIVER_OPTIONS';

test('--driver.KEY VALUE is taken out wherever it stands, and nothing else is', () => {
  assert.deepEqual(foldDriverOptions(['notes', '--driver.data', './s', '--json', '--driver.memory_bytes=5']), [
    ...['notes', '--driver-option', 'data=./s', '--json', '--driver-option', 'memory_bytes=5'],
  ]);
  const untouched = ['--driver', 'fabric', '--driver-config', 'x', '--driver.data'];
  assert.deepEqual(foldDriverOptions(untouched), untouched);
  assert.deepEqual(foldDriverOptions(['--', '--driver.data', 'x']), ['--', '--driver.data', 'x']);
});

test('options of the driver have the type that their key wants, and may be written as the reference writes them', () => {
  const texts = ['group_file=7', 'zero-copy-threshold=4096', 'domain=mlx5_0,mlx5_1', 'servers=a:1,b:2', 'modules=./m'];
  let options = {};
  for (const text of texts) options = collectDriverOption(text, options);
  assert.deepEqual(options, {
    groupFile: '7',
    zeroCopyThreshold: 4096,
    domain: 'mlx5_0,mlx5_1',
    servers: ['a:1', 'b:2'],
    modules: ['./m'],
  });
  assert.deepEqual(collectDriverOption('data=false'), { data: false });
  for (const data of ['2024', 'true', 'a,b', './false']) {
    assert.deepEqual(collectDriverOption(`data=${data}`), { data });
  }
  for (const text of ['a.b=1', '=1']) assert.throws(() => collectDriverOption(text), /no option/);
});

test('the earlier source wins, and a place stands in for another', async (t) => {
  const file = join(await temporaryDirectory(t), 'driver.json');
  await writeFile(file, '{ "group_file": "of-file.json", "connectTimeoutMs": 1, "pendingBytesMax": 2 }');
  const fabric = { driverConfig: file, provider: 'tcp', waitFor: 2 };
  assert.deepEqual(await mergeDriverOptions([{}, {}]), undefined);
  assert.deepEqual(await mergeDriverOptions([{ connectTimeout: 3 }, fabric, { groupFile: 'weak.json' }]), {
    ...{ driver: 'fabric', groupFile: 'of-file.json', connectTimeoutMs: 3 },
    ...{ pendingBytesMax: 2, provider: 'tcp', minServers: 2 },
  });
  assert.deepEqual(await mergeDriverOptions([{ server: ['h:1'], driverOption: { connectTimeoutMs: 4 } }, fabric]), {
    ...{ driver: 'fabric', servers: ['h:1'], connectTimeoutMs: 4, pendingBytesMax: 2, provider: 'tcp' },
  });
  assert.deepEqual(await mergeDriverOptions([{ data: 'd', provider: 'tcp' }, fabric]), {
    driver: 'embedded',
    data: 'd',
  });
  assert.deepEqual(await mergeDriverOptions([{ driver: 'fabric' }, { data: 'd' }, { groupFile: 'g' }]), {
    ...{ driver: 'fabric', groupFile: 'g', connectTimeoutMs: 10_000 },
  });
  assert.deepEqual(await mergeDriverOptions([{ driver: 'embedded', driverOption: { groupFile: 'g' } }]), {
    ...{ driver: 'embedded', groupFile: 'g' },
  });
});

test('DIASPORA_CTL_DRIVER_OPTIONS gives every command its driver; the command line wins', async () => {
  await succeed(['topic', 'create', '--driver.data', 'one place', 'notes']);
  await succeed(['topic', 'create', 'others', '--driver', 'embedded', '--driver.data=other']);
  const one = { [variable]: `--driver embedded --driver.data 'one place'` };
  assert.deepEqual(await succeed(['topic', 'list'], '', one), ['notes']);
  await succeed(['produce', 'notes'], '{"n":1}\n', one);
  assert.deepEqual(await succeed(['consume', 'notes', '--max', '1'], '', one), ['0:0  {"n":1}']);
  assert.deepEqual(await succeed(['topic', 'list', '--driver.data', 'other'], '', one), ['others']);
  assert.deepEqual(await succeed(['topic', 'list', '--data', 'other'], '', one), ['others']);
  const far = { [variable]: '--driver fabric --driver.group_file missing.json --provider tcp' };
  assert.deepEqual(await succeed(['topic', 'list', '--data', 'other'], '', far), ['others']);
  const both = { ...one, DIASPORA_GROUP_FILE: 'missing.json' };
  assert.deepEqual(await succeed(['topic', 'list'], '', both), ['notes']);
  assert.deepEqual(await succeed(['topic', 'list', '--data', 'other'], '', { [variable]: '  ' }), ['others']);
});

test('what is wrong in DIASPORA_CTL_DRIVER_OPTIONS is an error with its name', async () => {
  const wrong: [string, RegExp][] = [
    ['--driver "embedded', /quoted string/],
    ['--colour red', /unknown option '--colour'/],
    ['embedded', /too many arguments/],
    ['--connect-timeout soon', /'soon' is invalid/],
    ['--driver mofka --driver.group_file x.json', /'fabric', not "mofka"/],
    ['--data s --driver.colour red', /no option 'colour'/],
    ['--driver-config missing.json', /missing\.json cannot be read/],
  ];
  const all = wrong.map(async ([text, pattern]) => {
    const { source } = pattern;
    const told = new RegExp(`(?=.*${variable})(?=.*${source}).*\\[INVALID_ARGUMENT\\]$`, 'm');
    await failInOneLine(['topic', 'list'], told, '', { [variable]: text });
  });
  await Promise.all(all);
  const far = { [variable]: '--driver fabric --driver.group_file missing.json' };
  await failInOneLine(['topic', 'list'], /missing\.json.*DIASPORA_CTL_DRIVER_OPTIONS.*\[GROUP_FILE\]/, '', far);
  await failInOneLine(['wait'], /say which group/, '', { [variable]: `--data ${place}/s` });
});
