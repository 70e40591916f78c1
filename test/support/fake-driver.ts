/** A driver over a FakeCore, as a user opens one. */
import { Driver, type EmbeddedDriverOptions, type TopicHandle, type TopicOptions } from '../../lib/index.js';
import { installBinding } from '../../lib/runtime.js';
import { FakeCore } from './fake-core.js';

export interface FakeDriver {
  readonly core: FakeCore;
  readonly driver: Driver;
}

/** As many servers as asked for; one is embedded and takes `options`, several are reached by address. */
export async function openFake(servers: number = 1, options: EmbeddedDriverOptions = {}): Promise<FakeDriver> {
  const core = new FakeCore(servers);
  installBinding(core.binding());
  const addresses = core.catalogues.map((_, index) => `127.0.0.1:${4711 + index}`);
  const driver =
    servers === 1
      ? await Driver.open({ ...options, data: false })
      : await Driver.open({ driver: 'fabric', servers: addresses });
  core.calls.length = 0;
  return { core, driver };
}

export async function openFakeTopic<T = unknown>(
  options: TopicOptions<T> = {},
  driverOptions: EmbeddedDriverOptions = {},
): Promise<FakeDriver & { topic: TopicHandle<T> }> {
  const { core, driver } = await openFake(1, driverOptions);
  await driver.createTopic('t', options);
  const topic = await driver.openTopic<T>('t');
  core.calls.length = 0;
  return { core, driver, topic };
}
