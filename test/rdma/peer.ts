/**
 * The server of two-guests.ts, on the other host: verbs on port 7000 of DIASPORA_TEST_PEER; on port 7001 it tells its
 * counters to whoever connects. Until it is killed.
 */
import { createServer } from 'node:net';
import { Server } from '../../lib/index.js';
import { providerName } from '../support/backends.js';
import { peerHost, peerPorts } from '../support/peer.js';

const host = peerHost();
const provider = await providerName('verbs');
const server = await Server.start({ provider, listen: `${host}:${peerPorts.server}`, insecure: true });
createServer((socket) => socket.end(JSON.stringify(server.counters()))).listen(peerPorts.counters, host);
process.stdout.write(`listening on ${server.address}, ${provider}\n`);
