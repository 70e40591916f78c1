import assert from 'node:assert/strict';
import { readdir, readFile, utimes, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { test } from 'node:test';
import { formatGroup, joinGroup, leaveGroup, parseGroup, readGroup } from '../lib/group-file.js';
import { temporaryDirectory } from './support/temporary.js';

function server(n: number, port: number = 1000 + n): { uuid: string; address: string; providers: string[] } {
  return { uuid: n.toString(16).padStart(32, '0'), address: `127.0.0.1:${port}`, providers: ['net'] };
}

test('servers get indices in the order of joining, and keep them when they come back', async (t) => {
  const path = join(await temporaryDirectory(t), 'group.json');
  assert.equal((await joinGroup(path, server(7))).index, 0);
  assert.equal((await joinGroup(path, server(3))).index, 1);
  assert.equal((await joinGroup(path, server(7, 9999))).index, 0);
  const group = await readGroup(path);
  assert.deepEqual(
    group.map(({ index, address }) => [index, address]),
    [
      [0, '127.0.0.1:9999'],
      [1, '127.0.0.1:1003'],
    ],
  );
  await leaveGroup(path, server(7).uuid);
  assert.equal(
    (await joinGroup(path, server(8))).index,
    2,
    'an index is never given twice while later ones are in use',
  );
});

test('many servers that join at once all get in', async (t) => {
  const directory = await temporaryDirectory(t);
  const path = join(directory, 'group.json');
  await Promise.all(Array.from({ length: 12 }, (_, n) => joinGroup(path, server(n))));
  const group = await readGroup(path);
  assert.deepEqual(
    group.map(({ index }) => index),
    [...Array(12).keys()],
  );
  assert.deepEqual(await readdir(directory), ['group.json'], 'no lock and no temporary file is left');
});

test('the lock of a process that is gone is taken away', async (t) => {
  const path = join(await temporaryDirectory(t), 'group.json');
  await writeFile(`${path}.lock`, 'elsewhere 1 1-1 0');
  const longAgo = new Date(Date.now() - 3_600_000);
  await utimes(`${path}.lock`, longAgo, longAgo);
  assert.equal((await joinGroup(path, server(1))).index, 0);
});

test('a missing file, and one without servers, is GROUP_FILE with its path', async (t) => {
  const path = join(await temporaryDirectory(t), 'none.json');
  await assert.rejects(readGroup(path), { code: 'GROUP_FILE', path, message: /there is no such file/ });
  await writeFile(path, formatGroup([]));
  await assert.rejects(readGroup(path), { code: 'GROUP_FILE', message: /names no server/ });
});

test('malformed files say what is wrong', () => {
  const good = { ...server(1), index: 0 };
  const wrap = (servers: unknown): string => JSON.stringify({ format: 'diaspora-group', version: 1, servers });
  const bad: [string, RegExp][] = [
    ['', /not JSON/],
    ['{', /not JSON/],
    ['[]', /"format"/],
    ['{"format":"other"}', /"format"/],
    [wrap(undefined), /servers is not a list/],
    [wrap([7]), /servers\[0\] is not an object/],
    [wrap([{ ...good, uuid: 'x' }]), /servers\[0\].uuid/],
    [wrap([{ ...good, index: -1 }]), /index/],
    [wrap([{ ...good, address: 'nowhere' }]), /address/],
    [wrap([{ ...good, providers: [1] }]), /providers/],
    [wrap([good, good]), /twice/],
    [wrap([good, { ...server(2), index: 0 }]), /index 0 stands twice/],
  ];
  for (const [text, message] of bad) {
    assert.throws(() => parseGroup('/g', text), { code: 'GROUP_FILE', path: '/g', message }, text);
  }
  assert.deepEqual(parseGroup('/g', wrap([good])), [good]);
});

test('another version is refused with both versions named', () => {
  const text = JSON.stringify({ format: 'diaspora-group', version: 2, servers: [] });
  assert.throws(() => parseGroup('/g', text), { code: 'VERSION_MISMATCH', message: /version 2.*version 1/ });
});

test('a malformed file is not overwritten by a joining server', async (t) => {
  const path = join(await temporaryDirectory(t), 'group.json');
  await writeFile(path, 'precious');
  await assert.rejects(joinGroup(path, server(1)), { code: 'GROUP_FILE' });
  assert.equal(await readFile(path, 'utf8'), 'precious');
  await assert.rejects(joinGroup(join(path, 'below', 'group.json'), server(1)), { code: 'NOT_WRITABLE' });
});
