/**
 * MPI-style ranks: one program started N times (srun, mpiexec, PBS ...); the first ranks serve, the others work.
 *
 *   srun --ntasks=5 node ranks.mjs          DIASPORA_SERVERS=1 DIASPORA_GROUP_FILE=/shared/group.json
 *
 * The group file and an empty folder beside it, in which ranks tell that they are done, lie on a shared file system.
 */
import { mkdir, readdir, writeFile } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { Driver, Server } from 'diaspora-stream';

/** The first of these variables that is set; which one depends on the launcher. */
const fromLauncher = (...names) => Number(names.map((name) => process.env[name]).find((value) => value !== undefined));

const rank = fromLauncher('SLURM_PROCID', 'PMI_RANK', 'PMIX_RANK', 'OMPI_COMM_WORLD_RANK');
const size = fromLauncher('SLURM_NTASKS', 'PMI_SIZE', 'OMPI_COMM_WORLD_SIZE');
const servers = Number(process.env.DIASPORA_SERVERS ?? 1);
const groupFile = process.env.DIASPORA_GROUP_FILE ?? 'group.json';
const done = join(dirname(groupFile), 'ranks-done');

if (rank < servers) {
  const listen = process.env.DIASPORA_LISTEN ?? 'tcp://ib0:0';
  const data = join(process.env.DIASPORA_DATA ?? dirname(groupFile), `server-${rank}`);
  const server = await Server.start({ data, listen, groupFile, insecure: true });
  await mkdir(done, { recursive: true });
  while ((await readdir(done)).length < size - servers) await sleep(200);
  await server.close(); // writes and syncs everything
} else {
  const driver = await Driver.open({ driver: 'fabric', groupFile, minServers: servers, connectTimeoutMs: 120_000 });
  if (rank === servers) await driver.createTopic('results', { partitions: size - servers });
  else while (!(await driver.topicExists('results'))) await sleep(100);
  const topic = await driver.openTopic('results');
  const producer = topic.producer();
  for (let step = 0; step < 100; step++) {
    producer.push({ rank, step }, new Float64Array(1000).fill(rank), { partition: rank - servers });
  }
  await producer.close();
  await driver.close();
  await mkdir(done, { recursive: true });
  await writeFile(join(done, String(rank)), '');
}
