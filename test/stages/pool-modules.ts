/** The modules that tests of the thread pool put where a driver may load stages from. */
import { mkdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import type { TestContext } from 'node:test';
import { temporaryDirectory } from '../support/temporary.js';

const source = `
import { existsSync, writeFileSync } from 'node:fs';
import { isMainThread, threadId } from 'node:worker_threads';

const sleeper = new Int32Array(new SharedArrayBuffer(4));
const pause = () => Atomics.wait(sleeper, 0, 0, 2);

/** Does what the metadata says. */
export const obeys = () => ({
  validate(metadata) {
    const { begun, gate, done, exit, hang, thrown, refuse, add, deaf, eat } = metadata ?? {};
    if (begun) writeFileSync(begun, '');
    while (gate && !existsSync(gate)) pause();
    if (done) writeFileSync(done, '');
    if (exit !== undefined) process.exit(exit);
    if (deaf) process.reallyExit(deaf);
    if (hang) for (;;) pause();
    for (const all = []; eat; ) all.push(new Array(100_000).fill(1.5));
    if (thrown) setTimeout(() => { throw new RangeError(thrown); });
    if (refuse === false) return false;
    if (refuse !== undefined) throw new TypeError(refuse);
    if (add !== undefined) metadata.added = add;
  },
});
/** Tells where it runs. */
export const tells = () => ({ validate: (metadata) => { throw new Error(isMainThread ? 'main' : 'worker'); } });
export const tellsWithData = () => ({
  validate: (metadata, data) => { throw new Error((isMainThread ? 'main ' : 'worker ') + data?.length); },
});
export const byKey = ({ offset }) => ({
  select: ({ key, bad }, { partitions, requested }) => {
    if (bad === 'throw') throw new Error('no partition');
    return bad ?? (key + offset + (requested ?? 0)) % partitions;
  },
});
export const shouts = () => ({
  serialize: (metadata) => JSON.stringify(metadata).toUpperCase(),
  deserialize: (text) => JSON.parse(text.toLowerCase()),
});
const shared = new Uint8Array(1000);
export const bytes = () => ({
  binary: true,
  serialize: (metadata) => {
    if (metadata === 'fail') throw new Error('does not serialize');
    const text = Buffer.from(JSON.stringify(metadata));
    shared.set(text);
    return shared.subarray(0, text.length);
  },
  deserialize: (stored) => JSON.parse(Buffer.from(stored).toString()),
});
/** Can be made on the main thread only. */
export const ends = ({ how }) => {
  if (!isMainThread && how === 'exit') process.exit(7);
  if (!isMainThread && how === 'hang') for (;;) pause();
  if (!isMainThread && how === 'throw') throw new Error('not in a worker');
  return (metadata) => true;
};
`;

/** A directory with `pool.mjs`. */
export async function poolModules(context: Pick<TestContext, 'after'>): Promise<string> {
  const modules = join(await temporaryDirectory(context), 'modules');
  await mkdir(modules);
  await writeFile(join(modules, 'pool.mjs'), source);
  return modules;
}
