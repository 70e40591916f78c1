/** Child process: one partition server. Answers 'cpu' with the processor seconds it has used. */
import { totalmem } from 'node:os';
import { Server } from 'diaspora-stream';
import { cpuSeconds } from '../measure.js';

const [data = '', provider = 'auto', host = ''] = process.argv.slice(2);
const memoryBytes = Math.min(3 * 1024 ** 3, totalmem() / 2);
const server = await Server.start({ data, listen: `tcp://${host}:0`, provider, memoryBytes, insecure: true });
let stopping = false;
async function stop(): Promise<void> {
  if (stopping) return;
  stopping = true;
  await server.close();
  if (process.connected) process.disconnect();
}
// The benchmark may end early: its server must not stay behind.
process.on('disconnect', () => void stop());
process.on('message', (message) => {
  if (message === 'cpu') process.send?.({ cpu: cpuSeconds() });
  if (message === 'stop') void stop();
});
process.send?.({ address: server.address });
