/** A worker thread with a driver and a producer of its own; it ends by itself when all that it pushed is stored. */
import { parentPort, workerData } from 'node:worker_threads';
import { Driver, type DriverOptions } from '../../lib/index.js';
import { type Numbered, type PushOptions, pushNumbered } from '../support/numbered-pushes.js';

const { options, topic, ...push } = workerData as { options: DriverOptions; topic: string } & PushOptions;
const driver = await Driver.open(options);
const pushed = await pushNumbered(await driver.openTopic<Numbered>(topic), push);
await driver.close();
parentPort?.postMessage(pushed);
