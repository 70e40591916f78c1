/** A fabric that both sides have, but that does not carry: the next one is taken, and the operator is told. */
import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { join } from 'node:path';
import { text } from 'node:stream/consumers';
import { test } from 'node:test';
import { providerName } from '../support/backends.js';
import { type Host, makeHosts, whyNoHosts } from '../support/hosts.js';
import { startServer } from '../support/server-process.js';
import { temporaryDirectory } from '../support/temporary.js';

// Newer libfabrics have one provider over IP only, and nothing to fall back to here.
const skip = whyNoHosts() ?? ((await providerName('tcp')) === 'net' ? false : 'needs libfabric 1.16 or 1.17');
const provider = 'net,tcp;ofi_rxm';
const cli = join(import.meta.dirname, '../../lib/cli/main.js');

test('a provider that does not come up is given up for the next, with a warning', {
  skip,
  timeout: 60_000,
}, async (t) => {
  const [there, here] = makeHosts(t, 2) as [Host, Host];
  const groupFile = join(await temporaryDirectory(t), 'group.json');
  const [ip, ...inThere] = there.node;
  const ports = ['env', 'FI_NET_PORT_LOW_RANGE=20000', 'FI_NET_PORT_HIGH_RANGE=20100'];
  const node = [ip as string, ...inThere.slice(0, -1), ...ports, process.execPath];
  const listen = `tcp://${there.address}:0`;
  await startServer(t, { provider, listen, groupFile, insecure: true }, node);
  here.forbid(20_000, 20_100);
  const [command, ...args] = [...here.node, cli, 'wait', '--group-file', groupFile, '--provider', provider];
  const waiting = spawn(command as string, args, { stdio: ['ignore', 'pipe', 'pipe'] });
  const [out, errors, [code]] = await Promise.all([text(waiting.stdout), text(waiting.stderr), once(waiting, 'close')]);
  assert.equal(code, 0, errors);
  assert.match(out, /^10\.99\.0\.1:\d+ tcp;ofi_rxm\n$/);
  assert.match(errors, /warn: server 10\.99\.0\.1:\d+: provider net does not come up: .*; trying another provider\n/);
});
