/**
 * The scripts of examples/cluster on three hosts of our own. `srun`, `scontrol` and `ssh` are stand-ins that run the
 * commands in the hosts' network namespaces, so what is tested is what the scripts do, not Slurm.
 */
import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { cp, mkdir, readdir, symlink, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { type TestContext, test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { type Host, makeHosts, whyNoHosts } from '../support/hosts.js';
import { temporaryDirectory } from '../support/temporary.js';

const skip = whyNoHosts() ?? false;
const root = fileURLToPath(new URL('../../..', import.meta.url));
const cli = join(root, 'dist/lib/cli/main.js');

/** Writes 10 events and reads them back, as an application of a job does. */
const application = `
import { Driver } from 'diaspora-stream';
const driver = await Driver.open({ driver: 'fabric', groupFile: process.env.DIASPORA_GROUP_FILE });
if (!(await driver.topicExists('t'))) await driver.createTopic('t', { partitions: 2 });
const topic = await driver.openTopic('t');
const producer = topic.producer();
for (let i = 0; i < 10; i++) producer.push({ i }, Buffer.alloc(100_000, i));
await producer.close();
let seen = 0;
for await (const event of topic.consumer({ name: 'job', dataSelector: 'full' })) {
  if (event.data[99_999] !== event.metadata.i) throw new Error('wrong data');
  if (++seen === 10) break;
}
process.stdout.write(\`application saw \${seen} events at \${driver.info.servers.length} servers\\n\`);
await driver.close();
`;

interface Cluster {
  readonly directory: string;
  readonly hosts: readonly Host[];
  readonly env: NodeJS.ProcessEnv;
}

/** A directory as users have it, with the scripts, the package and the stand-ins in PATH. */
async function makeCluster(t: TestContext): Promise<Cluster> {
  const directory = await temporaryDirectory(t);
  const hosts = makeHosts(t, 3);
  const bin = join(directory, 'bin');
  await mkdir(bin);
  await mkdir(join(directory, 'node_modules'));
  await symlink(root, join(directory, 'node_modules/diaspora-stream'));
  await cp(join(root, 'examples/cluster'), directory, { recursive: true });
  await writeFile(join(directory, 'application.mjs'), application);
  const script = (name: string, text: string): Promise<void> =>
    writeFile(join(bin, name), `#!/bin/bash\n${text}\n`, { mode: 0o755 });
  await script('scontrol', `printf '%s\\n' ${hosts.map(({ name }) => name).join(' ')}`);
  // Runs the command once on each host of --nodelist, forwards SIGTERM to all of them and ends when they have.
  await script(
    'srun',
    `while [[ $1 == --* ]]; do [[ $1 == --nodelist=* ]] && IFS=, read -ra nodes <<< "\${1#*=}"; shift; done
pids=()
for i in "\${!nodes[@]}"; do
  SLURM_PROCID=$i SLURM_NTASKS=\${#nodes[@]} ip netns exec "\${nodes[$i]}" "$@" & pids+=($!)
done
trap 'kill -TERM "\${pids[@]}" 2>/dev/null' TERM
code=0
for pid in "\${pids[@]}"; do
  while kill -0 "$pid" 2>/dev/null; do wait "$pid" || code=$?; done
done
exit $code`,
  );
  await script('remote', 'exec ip netns exec "$1" bash -c "$2"');
  const env = {
    ...process.env,
    PATH: `${bin}:${process.env['PATH']}`,
    DIASPORA: `${process.execPath} ${cli}`,
    DIASPORA_LISTEN: 'tcp://10.99.0.0/24:0',
  };
  return { directory, hosts, env };
}

async function run(
  cluster: Cluster,
  env: NodeJS.ProcessEnv,
  command: string[],
): Promise<{ code: number; out: string }> {
  const child = spawn(command[0] as string, command.slice(1), {
    cwd: cluster.directory,
    env: { ...cluster.env, ...env },
    stdio: ['ignore', 'pipe', 'pipe'],
  });
  let out = '';
  for (const stream of [child.stdout, child.stderr])
    stream.setEncoding('utf8').on('data', (text: string) => (out += text));
  const [code] = (await once(child, 'close')) as [number];
  return { code, out };
}

test('slurm.sh: servers on two nodes, the application on the third, a clean end', {
  skip,
  timeout: 120_000,
}, async (t) => {
  const cluster = await makeCluster(t);
  // Slurm runs the batch script on the first node of the job.
  const batch = ['ip', 'netns', 'exec', (cluster.hosts[0] as Host).name, './slurm.sh'];
  const env = {
    SLURM_JOB_NODELIST: 'h[1-3]',
    SLURM_JOB_ID: '7',
    SLURM_SUBMIT_DIR: cluster.directory,
    DIASPORA_SERVERS: '2',
  };
  const { code, out } = await run(cluster, env, [...batch, process.execPath, 'application.mjs']);
  assert.equal(code, 0, out);
  assert.match(out, /application saw 10 events at 2 servers/);
  assert.equal(out.match(/stopping/g)?.length, 2, out);
  assert.deepEqual(await readdir(join(cluster.directory, 'diaspora-7/data')), ['0', '1']);
  const failed = await run(cluster, { ...env, SLURM_JOB_ID: '8' }, [...batch, 'false']);
  assert.equal(failed.code, 1, 'the exit code of the application');
  assert.equal(failed.out.match(/stopping/g)?.length, 2, failed.out);
});

test('ssh.sh: servers on two hosts, then a command here', { skip, timeout: 120_000 }, async (t) => {
  const cluster = await makeCluster(t);
  const [one, two, here] = cluster.hosts as [Host, Host, Host];
  const command = ['ip', 'netns', 'exec', here.name, './ssh.sh', `${one.name} ${two.name}`];
  const { code, out } = await run(cluster, { REMOTE: 'remote' }, [...command, process.execPath, 'application.mjs']);
  assert.equal(code, 0, out);
  assert.match(out, /application saw 10 events at 2 servers/);
  assert.equal(out.match(/stopping/g)?.length, 2, out);
});

test('ranks.mjs: the first rank serves, the others produce', { skip, timeout: 120_000 }, async (t) => {
  const cluster = await makeCluster(t);
  const groupFile = join(cluster.directory, 'group.json');
  const nodes = cluster.hosts.map(({ name }) => name).join(',');
  const { code, out } = await run(cluster, { DIASPORA_GROUP_FILE: groupFile }, [
    ...['srun', `--nodelist=${nodes}`],
    ...[process.execPath, 'ranks.mjs'],
  ]);
  assert.equal(code, 0, out);
  const [host] = cluster.hosts as [Host];
  const data = join(cluster.directory, 'server-0');
  const described = await run(cluster, {}, [
    ...host.node,
    cli,
    'topic',
    'describe',
    'results',
    '--json',
    '--data',
    data,
  ]);
  assert.equal(described.out.match(/"nextId": *"?100\b/g)?.length, 2, described.out);
});
