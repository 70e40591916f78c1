/** Child process: a server with a bound on its memory for batches. */
import { Server } from 'diaspora-stream';

const [data = '', provider = 'auto', memoryBytes = '0'] = process.argv.slice(2);
const server = await Server.start({ data, listen: 'tcp://127.0.0.1:0', provider, memoryBytes: Number(memoryBytes) });
let stopping = false;
async function stop(): Promise<void> {
  if (stopping) return;
  stopping = true;
  await server.close();
  if (process.connected) process.disconnect();
}
process.on('disconnect', () => void stop());
process.on('message', (message) => {
  if (message === 'stop') void stop();
});
process.send?.({ address: server.address });
