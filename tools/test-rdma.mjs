// `npm run test:rdma`: every transfer path over verbs queue pairs, between two RDMA devices. Where this machine has no
// two of its own (DIASPORA_TEST_VERBS=ADDRESS,ADDRESS names them), in a guest that has (tools/rdma-vm.mjs).
//
// Where a guest is impossible (no QEMU, no kernel package) it says so loudly and succeeds. In CI (CI=true) the packages
// are installed first.
import { spawn } from 'node:child_process';
import { join } from 'node:path';
import { hasKernel, missingPackages, prepare, runInGuest } from './rdma-vm.mjs';
import { buildNative, root, runMain, runQuiet, setUp } from './setup.mjs';

const isCi = process.env['CI'] === 'true';
const script = join(root, 'test/rdma/run.sh');

/** Twice the 10 minutes that it takes on an idle machine of two cores: a watchdog. */
const timeoutSeconds = 1200;

function installPackages() {
  const missing = missingPackages();
  if (missing.length === 0 && hasKernel()) return;
  const sudo = process.getuid?.() === 0 ? [] : ['sudo', '-n'];
  const env = { ...process.env, DEBIAN_FRONTEND: 'noninteractive' };
  const apt = (...args) => {
    const [command, ...rest] = [...sudo, 'apt-get', ...args];
    runQuiet(command, rest, { env });
  };
  try {
    apt('update');
    if (missing.length > 0) apt('install', '-y', '--no-install-recommends', ...missing);
  } catch (error) {
    // prepare() says what is missing now.
    process.stderr.write(`test:rdma: ${error.message}\n`);
  }
}

function runHere() {
  return new Promise((resolve, reject) => {
    const child = spawn('bash', [script], { cwd: root, stdio: 'inherit' });
    child.once('error', reject).once('close', (code) => resolve(code ?? 1));
  });
}

/** Everything, between the two devices of one guest. */
async function oneGuest() {
  return await runInGuest(`DIASPORA_TEST_VERBS=10.77.0.1,10.77.0.2 bash '${script}'`, { timeoutSeconds });
}

/** Producers and consumers in one guest, the server in another. */
async function twoGuests() {
  process.stdout.write('\n#### two guests\n');
  const node = 'DIASPORA_TEST_PEER=10.77.0.2 node --enable-source-maps';
  const status = await runInGuest(`${node} --test --test-reporter=spec dist/test/rdma/two-guests.js`, {
    timeoutSeconds,
    peer: `${node} dist/test/rdma/peer.js`,
  });
  process.stdout.write(`\n== RDMA between two guests: ${status === 0 ? 'passed' : 'FAILED'}\n`);
  return status;
}

async function runThere() {
  if (isCi) installPackages();
  const reason = prepare();
  if (reason === undefined) return (await oneGuest()) || (await twoGuests());
  const line = '!'.repeat(100);
  process.stderr.write(`${line}\n!! SKIPPED, nothing was tested over RDMA: ${reason}\n${line}\n`);
  return 0;
}

await runMain(async () => {
  setUp({ tests: true });
  buildNative('build-test', { DIASPORA_SANITIZE: '', DIASPORA_BENCH: 'ON' });
  process.chdir(root);
  const status = await (process.env['DIASPORA_TEST_VERBS'] === undefined ? runThere() : runHere());
  if (status !== 0) process.stderr.write(`test:rdma: FAILED (exit status ${status})\n`);
  return status;
});
