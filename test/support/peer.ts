/** The server of another host (test/rdma/peer.ts). */
import { once } from 'node:events';
import { connect } from 'node:net';
import { json } from 'node:stream/consumers';
import { setTimeout as sleep } from 'node:timers/promises';
import { Driver, type ServerCounters } from '../../lib/index.js';
import { type Backend, providerName } from './backends.js';

export const peerPorts = { server: 7000, counters: 7001 };

export function peerHost(): string {
  const host = process.env['DIASPORA_TEST_PEER'];
  if (host === undefined) throw new Error('DIASPORA_TEST_PEER names no host: use npm run test:rdma');
  return host;
}

/** The peer's counters; waits until the peer is up. */
async function counters(): Promise<ServerCounters> {
  for (;;) {
    const socket = connect(peerPorts.counters, peerHost());
    try {
      await once(socket, 'connect');
    } catch {
      await sleep(200);
      continue;
    }
    return (await json(socket)) as ServerCounters;
  }
}

export const peerBackend: Backend<{ counters: typeof counters }> = {
  name: 'server on another host, verbs, memory',
  start: async () => {
    await counters();
    const provider = await providerName('verbs');
    const servers = [`${peerHost()}:${peerPorts.server}`];
    return {
      server: { counters },
      manager: 'memory',
      shared: true,
      open: (options) => Driver.open({ driver: 'fabric', servers, provider, ...options }),
    };
  },
};
