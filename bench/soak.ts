/**
 * Bounded memory: streams many gigabytes through a server with a log topic while one consumer reads along and another
 * is paused, samples the memory of every process, and prints the highest figures. Exits 1 when one is above its bound.
 *
 *   node dist/bench/soak.js [--gigabytes 20] [--provider tcp]
 */
import { fork } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';
import { Driver } from 'diaspora-stream';

const { values } = parseArgs({
  options: { gigabytes: { type: 'string', default: '20' }, provider: { type: 'string', default: 'tcp' } },
});
const mib = 1024 * 1024;
const events = Math.round((Number(values.gigabytes) * 1e9) / mib);
const provider = values.provider;
const memoryBytes = 512 * mib;

/**
 * Bounds, MiB. Server: its memory for batches, and 150 for Node and message buffers. Producer: the buffers that it
 * pushes (64) and 150. Consumers: the windows lent to the server and those that wait for the collector (256), and 150.
 */
const bounds = { server: 512 + 150, producer: 64 + 150, reader: 256 + 150, paused: 256 + 150 } as const;
type Role = keyof typeof bounds;

function anonymousMib(pid: number): number {
  const status = readFileSync(`/proc/${pid}/status`, 'utf8');
  return Number(/RssAnon:\s+(\d+)/.exec(status)?.[1] ?? 0) / 1024;
}

const scratch = mkdtempSync(join(tmpdir(), 'diaspora-soak-'));
const peaks = new Map<Role, number>();

function start(role: Role, args: readonly string[]): ReturnType<typeof fork> {
  const child = fork(
    fileURLToPath(new URL(`./roles/soak-${role === 'paused' ? 'reader' : role}.js`, import.meta.url)),
    [...args],
  );
  const timer = setInterval(() => {
    if (child.pid !== undefined && child.exitCode === null) {
      peaks.set(role, Math.max(peaks.get(role) ?? 0, anonymousMib(child.pid)));
    }
  }, 100);
  child.once('exit', () => clearInterval(timer));
  return child;
}

try {
  const server = start('server', [join(scratch, 'data'), provider, String(memoryBytes)]);
  const [{ address }] = (await once(server, 'message')) as [{ address: string }];
  await using driver = await Driver.open({ driver: 'fabric', servers: [address], provider });
  await driver.createTopic('soak', { durability: 'os' });
  const begin = Date.now();
  const reader = start('reader', [address, provider, String(events), '0']);
  const paused = start('paused', [address, provider, String(Math.min(events, 2000)), '1']);
  const producer = start('producer', [address, provider, String(events)]);
  await once(producer, 'exit');
  const produced = (Date.now() - begin) / 1000;
  paused.send('resume');
  for (const child of [reader, paused]) if (child.exitCode === null) await once(child, 'exit');
  if (reader.exitCode !== 0 || paused.exitCode !== 0 || producer.exitCode !== 0) throw new Error('a process failed');
  const gone = once(server, 'exit');
  server.send('stop');
  await gone;
  let failed = false;
  process.stdout.write(`${values.gigabytes} GB over ${provider}: produced in ${produced.toFixed(1)} s\n`);
  for (const role of ['server', 'producer', 'reader', 'paused'] as const) {
    const peak = peaks.get(role) ?? Number.NaN;
    failed ||= !(peak <= bounds[role]);
    process.stdout.write(`${role.padEnd(8)} peak ${peak.toFixed(0).padStart(5)} MiB, bound ${bounds[role]} MiB\n`);
  }
  process.exitCode = failed ? 1 : 0;
} finally {
  rmSync(scratch, { recursive: true, force: true });
}
