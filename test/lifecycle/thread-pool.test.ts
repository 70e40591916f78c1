/** How processes end that have a thread pool: they store what they pushed, and no stage keeps them for ever. */
import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { join } from 'node:path';
import { test } from 'node:test';
import { pathToFileURL } from 'node:url';
import { Driver } from '../../lib/index.js';
import type { PoolOptions } from '../programs/pool.js';
import { poolModules } from '../stages/pool-modules.js';
import { everyNode, runProgram } from '../support/lifecycle.js';
import { temporaryDirectory } from '../support/temporary.js';

const expectations: { readonly ending: PoolOptions['ending']; readonly title: string; readonly stored?: number }[] = [
  { ending: 'exitWithoutClose', title: 'a process that closes no pool stores what it pushed and ends', stored: 120 },
  { ending: 'exitIdle', title: 'an idle pool lets the process end', stored: 1 },
  { ending: 'exitWhileHanging', title: 'process.exit while a stage hangs in a worker' },
  { ending: 'hangForgotten', title: 'a stage that hangs does not keep the process for ever', stored: 2 },
  { ending: 'terminateOwner', title: 'a thread is terminated while its pool works' },
];

for (const { ending, title, stored } of expectations) {
  everyNode(title, async (t, node) => {
    const directory = await temporaryDirectory(t);
    const driver = { data: join(directory, 'data'), modules: await poolModules(t) };
    const before = await Driver.open(driver);
    await before.createTopic('t', { validator: { type: 'obeys:./pool.mjs' }, durability: 'os' });
    await before.close();
    const options: PoolOptions = { ending, driver, topic: 't', begun: join(directory, 'begun') };
    const { exit, stderr } = await runProgram(t, 'pool', options, node);
    assert.deepEqual(exit, { code: 0, signal: null }, stderr);
    if (stored === undefined) return;
    const after = await Driver.open(driver);
    const { partitions } = await (await after.openTopic('t')).describe();
    await after.close();
    assert.equal(partitions[0]?.nextId, BigInt(stored));
  });
}

/** Runs a program that is a string, with a producer that has a pool of one thread; gives what it prints. */
function runText(modules: string, body: string, ...flags: string[]): string {
  const library = pathToFileURL(join(import.meta.dirname, '../../lib/index.js')).href;
  const program = `
    import { Driver } from ${JSON.stringify(library)};
    const driver = await Driver.open({ data: false, modules: ${JSON.stringify(modules)} });
    await driver.createTopic('t', { validator: { type: 'obeys:./pool.mjs' } });
    const producer = (await driver.openTopic('t')).producer({ threadPool: driver.makeThreadPool(1) });
    ${body}
    await driver.close();`;
  const run = spawnSync(process.execPath, [...flags, '--input-type=module', '-e', program], { encoding: 'utf8' });
  assert.equal(run.status, 0, run.stderr);
  return run.stdout;
}

test('a pool works in a program that is a string', async (t) => {
  assert.equal(runText(await poolModules(t), 'console.log(await producer.push({ n: 1 }));'), '0n\n');
});

test('a stage that exhausts the memory of its worker fails its event, and the process lives', async (t) => {
  const body = `
    await producer.push({ eat: true }).catch(({ code, cause }) => console.log(code, cause.code));
    console.log(await producer.push({ n: 1 }));`;
  const told = runText(await poolModules(t), body, '--max-old-space-size=100');
  assert.equal(told, 'RESOURCE_EXHAUSTED ERR_WORKER_OUT_OF_MEMORY\n0n\n');
});
