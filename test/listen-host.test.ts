import assert from 'node:assert/strict';
import { test } from 'node:test';
import { parseListen } from '../lib/listen-host.js';

test('a server may listen on an address, an interface, or the subnet of one', async () => {
  assert.deepEqual(await parseListen('tcp://127.0.0.1:7000'), { host: '127.0.0.1', port: 7000 });
  assert.deepEqual(await parseListen('127.0.0.0/8:0'), { host: '127.0.0.1', port: 0 });
  assert.deepEqual(await parseListen('tcp://lo:1'), { host: '127.0.0.1', port: 1 });
  assert.deepEqual(await parseListen('[::1]:5'), { host: '::1', port: 5 });
  assert.match((await parseListen('localhost:5')).host, /^(127\.0\.0\.1|::1)$/);
});

test('what names no address of this host is refused with what is there', async () => {
  const code = 'INVALID_ARGUMENT';
  await assert.rejects(parseListen('tcp://203.0.113.0/24:0'), { code, message: /no interface .* 203\.0\.113\.0\/24/ });
  await assert.rejects(parseListen('[fd99::/64]:0'), { code, message: /no interface .* fd99::\/64/ });
  await assert.rejects(parseListen('10.0.0.0/40:0'), { code, message: /not a subnet/ });
  await assert.rejects(parseListen('ib9.invalid:0'), { code, message: /ib9\.invalid is no interface .*lo/ });
  await assert.rejects(parseListen('127.0.0.0/8:70000'), { code });
});
