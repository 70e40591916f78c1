/** A partition server. Answers 'counters' and 'close'; ends when the test does. */
import { Server, type ServerOptions } from '../../lib/index.js';
import { optionsOf, tell } from '../support/child.js';

const server = await Server.start(optionsOf<ServerOptions>());
process.on('disconnect', () => process.exit(0));
process.on('message', (request) => {
  void (async () => {
    if (request === 'counters') await tell(server.counters());
    if (request === 'memory') await tell(process.memoryUsage.rss());
    if (request === 'close') {
      await server.close();
      await tell('closed');
      process.disconnect();
    }
  })();
});
await tell({ address: server.address, uuid: server.uuid, index: server.index });
