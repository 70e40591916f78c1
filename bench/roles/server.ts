/** Child process: one partition server. Answers 'cpu' with the processor seconds it has used. */
import { Server } from 'diaspora-stream';
import { cpuSeconds } from '../measure.js';

const [data = '', provider = 'auto'] = process.argv.slice(2);
const server = await Server.start({ data, listen: 'tcp://127.0.0.1:0', provider, memoryBytes: 3 * 1024 ** 3 });
process.on('message', (message) => {
  if (message === 'cpu') process.send?.({ cpu: cpuSeconds() });
  if (message === 'stop') void server.close().then(() => process.disconnect());
});
process.send?.({ address: server.address });
