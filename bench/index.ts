/**
 * `npm run bench`: runs the named workloads on this machine, in one go, beside the raw ceilings of the same run, and
 * prints a table and writes JSON.
 *
 * Every figure is the median of `--runs` runs. Ceiling and product alternate, so that a noisy machine disturbs both.
 */
import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import { Driver } from 'diaspora-stream';
import { diskCeiling, type Hosts, rmaCeiling, roundTripCeiling } from './ceilings.js';
import { BenchServer, runRole } from './children.js';
import { median, percentile } from './measure.js';
import { type BenchReport, type ResultRow, renderTable, replaceTable } from './report.js';
import { type Workload, workloads } from './workloads.js';

const { values } = parseArgs({
  options: {
    provider: { type: 'string', default: 'tcp' },
    runs: { type: 'string', default: '5' },
    only: { type: 'string' },
    scale: { type: 'string', default: '1' },
    hosts: { type: 'string' },
    out: { type: 'string', default: 'bench/results/latest.json' },
    'write-readme': { type: 'boolean', default: false },
    help: { type: 'boolean', default: false },
  },
});

if (values.help) {
  process.stdout.write(`npm run bench -- [options]
  --provider NAME   tcp (default), shm, or any other that both sides have
  --hosts A,B       addresses of this machine for clients and for the server (default: loopback)
  --runs N          runs of each measurement, of which the median counts (default 5)
  --only A,B        workloads: ${workloads.map((w) => w.name).join(', ')}, latency
  --scale X         times the events of each run, for machines that are slow or a quick look (default 1)
  --out FILE        JSON result (default bench/results/latest.json)
  --write-readme    put the table into bench/README.md
`);
  process.exit(0);
}

const runs = Number(values.runs);
const scale = Number(values.scale);
const [client = '', host = ''] = (values.hosts ?? '').split(',');
const hosts: Hosts | undefined = values.hosts === undefined ? undefined : { client, server: host };
const provider = values.provider;
const only = values.only?.split(',');
const scratch = mkdtempSync(join(tmpdir(), 'diaspora-bench-'));

interface RoleResult {
  readonly seconds: number;
  readonly cpu: number;
}

interface Sample {
  readonly put: RoleResult;
  readonly get: RoleResult;
  readonly putServerCpu: number;
  readonly getServerCpu: number;
  readonly readCeiling: number;
  readonly writeCeiling: number;
  readonly diskCeiling: number;
}

async function sample(server: BenchServer, workload: Workload, run: number): Promise<Sample> {
  const topic = `${workload.name}-${run}`;
  const { dataBytes, manager, durability } = workload;
  const readCeiling = dataBytes > 0 ? rmaCeiling(provider, hosts, 'read', dataBytes) : Number.NaN;
  const writeCeiling = dataBytes > 0 ? rmaCeiling(provider, hosts, 'write', dataBytes) : Number.NaN;
  const disk = durability === 'sync' && dataBytes > 0 ? diskCeiling(scratch, dataBytes) : Number.NaN;
  await using driver = await Driver.open({ driver: 'fabric', servers: [server.address], provider });
  await driver.createTopic(topic, { manager, durability });
  const cpu0 = await server.cpuSeconds();
  const put = await runRole<RoleResult>('produce', [server.address, provider, topic, JSON.stringify(workload)]);
  const cpu1 = await server.cpuSeconds();
  const get = await runRole<RoleResult>('consume', [server.address, provider, topic, String(workload.events)]);
  const cpu2 = await server.cpuSeconds();
  await driver.deleteTopic(topic);
  return {
    put,
    get,
    putServerCpu: cpu1 - cpu0,
    getServerCpu: cpu2 - cpu1,
    readCeiling,
    writeCeiling,
    diskCeiling: disk,
  };
}

function row(workload: Workload, action: 'produce' | 'consume', samples: readonly Sample[]): ResultRow {
  const isPut = action === 'produce';
  const seconds = median(samples.map((s) => (isPut ? s.put : s.get).seconds));
  const gigabytes = (workload.events * (workload.metadataBytes + workload.dataBytes)) / 1e9;
  const network = median(samples.map((s) => (isPut ? s.readCeiling : s.writeCeiling)));
  const disk = isPut ? median(samples.map((s) => s.diskCeiling)) : Number.NaN;
  const ceiling = Number.isNaN(disk) ? network : Math.min(network, disk);
  const mbPerSecond = (workload.events * workload.dataBytes) / 1e6 / seconds;
  return {
    workload: workload.name,
    action,
    durability: workload.durability,
    eventsPerSecond: workload.events / seconds,
    mbPerSecond,
    ceilingMbPerSecond: ceiling,
    ofCeiling: mbPerSecond / ceiling,
    clientCpuPerGb: median(samples.map((s) => (isPut ? s.put : s.get).cpu)) / gigabytes,
    serverCpuPerGb: median(samples.map((s) => (isPut ? s.putServerCpu : s.getServerCpu))) / gigabytes,
  };
}

async function latency(server: BenchServer): Promise<BenchReport['latency']> {
  await using driver = await Driver.open({ driver: 'fabric', servers: [server.address], provider });
  await driver.createTopic('latency', { manager: 'memory', durability: 'memory' });
  const raw: number[] = [];
  const p50: number[] = [];
  const all: number[] = [];
  for (let run = 0; run < runs; run++) {
    raw.push(roundTripCeiling(provider, hosts));
    const { micros } = await runRole<{ micros: number[] }>('latency', [
      server.address,
      provider,
      'latency',
      String(Math.ceil(3000 * scale)),
    ]);
    p50.push(percentile(micros, 0.5));
    all.push(...micros);
  }
  await driver.deleteTopic('latency');
  return {
    p50: median(p50),
    p99: percentile(all, 0.99),
    p999: percentile(all, 0.999),
    rawRoundTrip: median(raw),
    ofRaw: median(p50) / median(raw),
  };
}

try {
  const server = await BenchServer.start(join(scratch, 'data'), provider, hosts?.server);
  const rows: ResultRow[] = [];
  for (const full of workloads) {
    if (only !== undefined && !only.includes(full.name)) continue;
    const workload = { ...full, events: Math.ceil(full.events * scale) };
    process.stderr.write(`${workload.name} `);
    const samples: Sample[] = [];
    // The first does not count: it touches the memory that the server has never used, as the raw programs touch theirs.
    for (let run = 0; run <= runs; run++) {
      const measured = await sample(server, workload, run);
      if (run > 0) samples.push(measured);
      process.stderr.write('.');
    }
    process.stderr.write('\n');
    rows.push(row(workload, 'produce', samples), row(workload, 'consume', samples));
  }
  const report: BenchReport = {
    date: new Date().toISOString().slice(0, 10),
    command: `npm run bench${process.argv.length > 2 ? ` -- ${process.argv.slice(2).join(' ')}` : ''}`,
    node: process.version,
    provider,
    runs,
    rows,
    latency: only === undefined || only.includes('latency') ? await latency(server) : undefined,
  };
  await server.stop();
  const table = renderTable(report);
  process.stdout.write(`${table}\n`);
  mkdirSync(join(values.out, '..'), { recursive: true });
  writeFileSync(values.out, `${JSON.stringify(report, null, 2)}\n`);
  if (values['write-readme']) {
    writeFileSync('bench/README.md', replaceTable(readFileSync('bench/README.md', 'utf8'), provider, table));
  }
} finally {
  rmSync(scratch, { recursive: true, force: true });
}
