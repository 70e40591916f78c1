// Runs a command on a machine that has an RDMA device, where this one has none: boots Debian's kernel in QEMU with the
// Soft-RoCE driver, shows it this machine's own files, and runs the command there as root.
//
//   node tools/rdma-vm.mjs [--timeout SECONDS] [--prepare] [--peer COMMAND] COMMAND
//
// COMMAND is a line for bash, run in the current folder. The guest sees this machine's files; what it writes goes to its
// memory and is forgotten. It has rxe0 on 10.77.0.1 and rxe1 on 10.77.0.2, two ends of one cable, and no other network.
// With --peer a second guest, on the other end of the cable, runs that command first and for as long as COMMAND runs;
// then each has rxe0, on 10.77.0.1 (COMMAND) and 10.77.0.2. Output comes as it is written, stdout and stderr in one; of
// the peer with `peer: ` before each line.
//
// Exit status: COMMAND's; 124 after the timeout; 125 when the machine failed; 77 when this system cannot have one.
// The kernel is a Debian package, downloaded once into build/rdma-vm (DIASPORA_RDMA_KERNEL: a linux-image .deb instead).
import { spawn, spawnSync } from 'node:child_process';
import {
  cpSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { basename, join } from 'node:path';
import { createInterface } from 'node:readline';
import { parseArgs } from 'node:util';
import { root, runMain, runQuiet, SetupError } from './setup.mjs';

const cache = join(root, 'build/rdma-vm');
const scripts = join(root, 'tools/rdma-vm');

/** Debian packages and a file that each brings. */
const packages = {
  'qemu-system-x86': ['/usr/bin/qemu-system-x86_64'],
  'busybox-static': ['/usr/bin/busybox', '/bin/busybox'],
  iproute2: ['/usr/bin/rdma', '/usr/sbin/rdma', '/sbin/rdma'],
  'xz-utils': ['/usr/bin/xz'],
  'ibverbs-utils': ['/usr/bin/ibv_devinfo'],
  'ibverbs-providers': ['/usr/lib/x86_64-linux-gnu/libibverbs'],
};

/** Loaded in the guest, each after what it needs. */
const modules = [
  ...['virtio_pci', 'virtio_console', '9pnet_virtio', '9p', 'overlay', 'veth', 'virtio_net'],
  ...['crc32_generic', 'crc32c_generic', 'ib_uverbs', 'rdma_ucm', 'rdma_rxe'],
];

const bootSeconds = 120;

// --- kernel and initramfs -------------------------------------------------------------------------------------------

export function missingPackages() {
  return Object.keys(packages).filter((name) => !packages[name].some((file) => existsSync(file)));
}

export function hasKernel() {
  return existsSync(join(cache, 'ready'));
}

/** Why this system cannot boot the guest, or undefined. Downloads and unpacks the kernel when it is the first time. */
export function prepare() {
  if (process.arch !== 'x64') return `only x86-64 is supported, this is ${process.arch}`;
  const missing = missingPackages();
  if (missing.length > 0)
    return `missing packages; as root: apt-get install --no-install-recommends ${missing.join(' ')}`;
  try {
    if (!hasKernel()) unpack(process.env['DIASPORA_RDMA_KERNEL'] ?? download());
    return undefined;
  } catch (error) {
    if (error instanceof SetupError) return `no kernel: ${error.message}`;
    throw error;
  }
}

function download() {
  const listing = runQuiet('apt-cache', ['depends', '--no-recommends', '--no-suggests', 'linux-image-amd64']);
  const name = /Depends: (linux-image-\d\S*amd64)$/m.exec(listing)?.[1];
  if (name === undefined) throw new SetupError('apt knows no linux-image-amd64; as root: apt-get update');
  const folder = join(cache, 'download');
  mkdirSync(folder, { recursive: true });
  process.stderr.write(`rdma-vm: downloading ${name} (70 MB, once)\n`);
  // Its own user, _apt, may not write here.
  runQuiet('apt-get', ['download', '-o', 'APT::Sandbox::User=root', name], { cwd: folder });
  return join(
    folder,
    readdirSync(folder).find((file) => file.endsWith('.deb')),
  );
}

/** The uncompressed kernel in a bzImage: QEMU starts it at once, and the guest need not unpack it slowly. */
function unpackKernel(image, to) {
  const packed = image.indexOf(Buffer.from('fd377a585a00', 'hex'));
  if (packed < 0) throw new SetupError('the kernel is not packed with xz');
  const { status, stdout } = spawnSync('xz', ['-dc', '--single-stream'], {
    input: image.subarray(packed),
    maxBuffer: 1 << 28,
    stdio: ['pipe', 'pipe', 'ignore'],
  });
  // What stands behind the stream is of no interest, but makes xz say that it is damaged.
  if (stdout.subarray(1, 4).toString() !== 'ELF') throw new SetupError(`the kernel does not unpack (xz: ${status})`);
  writeFileSync(to, stdout);
}

/** File names of `wanted` and all they need, in an order in which they load. */
function loadOrder(dependencies, wanted) {
  const needs = new Map();
  for (const line of dependencies.trimEnd().split('\n')) {
    const [file, list] = line.split(':');
    needs.set(
      basename(file)
        .replace(/\.ko.*$/, '')
        .replaceAll('-', '_'),
      [file, ...list.trim().split(' ')],
    );
  }
  const order = new Set();
  for (const name of wanted) {
    const files = needs.get(name);
    if (files === undefined) throw new SetupError(`the kernel has no module ${name}`);
    // modules.dep names the nearest first.
    for (const file of files.filter(Boolean).reverse()) order.add(file);
  }
  return [...order];
}

function unpack(deb) {
  const fresh = join(cache, 'fresh');
  rmSync(fresh, { recursive: true, force: true });
  const initramfs = join(fresh, 'initramfs');
  for (const folder of ['bin', 'dev', 'proc', 'sys', 'modules'])
    mkdirSync(join(initramfs, folder), { recursive: true });
  const kinds = ['arch/x86/crypto', 'crypto', 'lib', 'drivers/virtio', 'drivers/char', 'drivers/infiniband/core'];
  kinds.push('drivers/infiniband/sw', 'drivers/net', 'net', 'fs');
  const wanted = ['./boot/vmlinuz-*', '*/modules.builtin*', '*/modules.order', ...kinds.map((k) => `*/kernel/${k}/*`)];
  const untar = 'deb=$1; shift; dpkg-deb --fsys-tarfile "$deb" | tar -x --no-same-owner --wildcards "$@"';
  runQuiet('bash', ['-o', 'pipefail', '-c', untar, 'bash', deb, ...wanted], { cwd: fresh });
  const release = readdirSync(join(fresh, 'boot'))[0].replace('vmlinuz-', '');
  runQuiet('busybox', ['depmod', '-b', fresh, release]);
  const library = join(fresh, 'lib/modules', release);
  const order = loadOrder(readFileSync(join(library, 'modules.dep'), 'utf8'), modules);
  for (const file of order) cpSync(join(library, file), join(initramfs, 'modules', basename(file)));
  writeFileSync(join(initramfs, 'modules/order'), `${order.map((file) => basename(file)).join('\n')}\n`);
  const busybox = packages['busybox-static'].find((file) => existsSync(file));
  cpSync(busybox, join(initramfs, 'bin/busybox'), { dereference: true });
  cpSync(busybox, join(initramfs, 'bin/sh'), { dereference: true });
  runQuiet('sh', ['-c', 'find . | busybox cpio -o -H newc >../initramfs.cpio'], { cwd: initramfs });
  unpackKernel(readFileSync(join(fresh, 'boot', `vmlinuz-${release}`)), join(fresh, 'vmlinux'));
  for (const file of ['vmlinux', 'initramfs.cpio']) renameSync(join(fresh, file), join(cache, file));
  rmSync(fresh, { recursive: true });
  writeFileSync(join(cache, 'ready'), `${release}\n`);
}

// --- the run ---------------------------------------------------------------------------------------------------------

/** KVM without hardware virtualisation (kvm_pvm) interprets a kernel not made for it, slower than TCG translates it. */
function accelerator() {
  const hardware = ['kvm_intel', 'kvm_amd'].some((name) => existsSync(`/sys/module/${name}`));
  const usable = hardware && spawnSync('test', ['-w', '/dev/kvm']).status === 0;
  return usable ? ['-accel', 'kvm', '-cpu', 'host'] : ['-accel', 'tcg,thread=multi', '-cpu', 'max,la57=off'];
}

const kernelLine = [
  ...['console=ttyS0', 'quiet', 'panic=-1', 'mitigations=off', 'random.trust_cpu=on', 'nowatchdog', 'audit=0'],
  // Without no_timer_check a busy host makes the kernel panic under TCG, as its timer seems dead.
  ...['apparmor=0', 'net.ifnames=0', 'rcupdate.rcu_expedited=1', 'no_timer_check'],
].join(' ');

/** One guest: QEMU, what it said, and a promise of how the command ended. */
class Guest {
  #folder;
  #child;
  #boots = 0;
  #role;
  #cable;
  #stopped = false;

  constructor(folder, role, command, cable) {
    this.#folder = join(folder, role);
    this.#role = role;
    this.#cable = cable;
    mkdirSync(this.#folder);
    const quoted = process.cwd().replaceAll("'", "'\\''");
    const environment = ['PATH', 'HOME', 'CI'].map((name) => `export ${name}='${process.env[name] ?? ''}'`);
    for (const name of Object.keys(process.env).filter((name) => /^(FI|RDMA|DIASPORA|NODE)_/.test(name))) {
      environment.push(`export ${name}='${process.env[name].replaceAll("'", "'\\''")}'`);
    }
    // As on a host of a cluster; what a test wants less of, it takes away itself.
    const limits = 'ulimit -l unlimited; ulimit -n 1048576; ulimit -c 0';
    writeFileSync(join(this.#folder, 'job'), [...environment, limits, `cd '${quoted}'`, command, ''].join('\n'));
    cpSync(join(scripts, 'init.sh'), join(this.#folder, 'init'));
    const pack = 'chmod 755 init && { cat "$1"; echo init | busybox cpio -o -H newc; } >initramfs.cpio';
    runQuiet('bash', ['-c', pack, 'bash', join(cache, 'initramfs.cpio')], { cwd: this.#folder });
  }

  /** Boots, anew if it is not up in time, and resolves with the command's exit status, or 124 or 125. */
  async run(timeoutSeconds, onReady) {
    for (;;) {
      this.#boots += 1;
      const ended = this.#start();
      const ready = await this.#within(bootSeconds, ended, () => this.#said('ready'));
      if (ready || this.#said('exit')) {
        onReady?.();
        const over = await this.#within(timeoutSeconds, ended, () => false);
        const status = /^exit (\d+)$/m.exec(this.#control())?.[1];
        if (status !== undefined) return Number(status);
        if (this.#stopped) return 0;
        if (over === false) process.stderr.write(`rdma-vm: not done after ${timeoutSeconds} s\n`);
        return over === false ? 124 : this.#died();
      }
      this.kill();
      await ended;
      // A guest under TCG gets stuck once in a hundred boots; the command has not begun.
      if (this.#boots === 2) return this.#died();
      process.stderr.write(`rdma-vm: the guest was not up after ${bootSeconds} s or died; booting it anew\n`);
    }
  }

  kill() {
    this.#child?.kill('SIGKILL');
  }

  /** It is no longer needed: its end is no failure. */
  stop() {
    this.#stopped = true;
    this.kill();
  }

  #control() {
    return readFileSync(join(this.#folder, 'control'), 'utf8');
  }

  #said(word) {
    return this.#control().includes(word);
  }

  #died() {
    const console = readFileSync(join(this.#folder, 'console'), 'utf8').trimEnd().split('\n').slice(-15).join('\n');
    process.stderr.write(`rdma-vm: the guest died; its console ended with:\n${console}\n`);
    return 125;
  }

  /** True once `done()` or, after it, QEMU's end; false, with QEMU killed, after the time. */
  async #within(seconds, ended, done) {
    const until = Date.now() + seconds * 1000;
    let over = false;
    void ended.then(() => {
      over = true;
    });
    while (Date.now() < until) {
      if (done()) return true;
      if (over) return undefined;
      await Promise.race([ended, new Promise((resolve) => setTimeout(resolve, 100))]);
    }
    this.kill();
    await ended;
    return false;
  }

  #start() {
    for (const file of ['control', 'console']) writeFileSync(join(this.#folder, file), '');
    const file = (name) => ['-chardev', `file,id=${name},path=${join(this.#folder, name)}`];
    const port = (name) => ['-device', `virtserialport,chardev=${name},name=${name}`];
    const share = 'local,id=root,path=/,security_model=none,readonly=on,multidevs=remap';
    const where = `diaspora.scripts=${scripts} diaspora.job=${join(this.#folder, 'job')} diaspora.role=${this.#role}`;
    const args = [
      ...['-no-user-config', '-nodefaults', '-display', 'none', '-no-reboot', '-smp', '2', '-m', '2G'],
      ...['-machine', 'q35,smm=off,vmport=off,usb=off,graphics=off', ...accelerator()],
      ...['-kernel', join(cache, 'vmlinux'), '-initrd', join(this.#folder, 'initramfs.cpio')],
      ...['-append', `${kernelLine} ${where}`],
      ...[...file('console'), '-serial', 'chardev:console', '-device', 'virtio-serial-pci'],
      ...[...file('control'), ...port('control'), '-chardev', 'stdio,id=output,signal=off', ...port('output')],
      ...['-fsdev', share, '-device', 'virtio-9p-pci,fsdev=root,mount_tag=root', ...this.#network()],
    ];
    // QEMU ends with us, however we end. Its stdin is a pipe on which nothing comes: at its end the port would close.
    this.#child = spawn('setpriv', ['--pdeathsig', 'KILL', 'qemu-system-x86_64', ...args], {
      stdio: ['pipe', this.#role === 'b' ? 'pipe' : 'inherit', 'inherit'],
    });
    if (this.#role === 'b') {
      createInterface({ input: this.#child.stdout }).on('line', (line) => process.stdout.write(`peer: ${line}\n`));
    }
    return new Promise((resolve, reject) => this.#child.once('error', reject).once('close', resolve));
  }

  #network() {
    if (this.#role === 'one') return [];
    const isServer = this.#role === 'b';
    const netdev = `stream,id=cable,server=${isServer ? 'on' : 'off'},addr.type=unix,addr.path=${this.#cable}`;
    const mac = `52:54:00:77:00:0${isServer ? 2 : 1}`;
    return ['-netdev', netdev, '-device', `virtio-net-pci,netdev=cable,romfile=,mac=${mac}`];
  }
}

/** Runs `command`, and `peer` beside it in a second guest when given. Resolves with the exit status. */
export async function runInGuest(command, { timeoutSeconds = 600, peer } = {}) {
  const folder = mkdtempSync(join(tmpdir(), 'rdma-vm-'));
  const guests = [];
  const stop = () => {
    for (const guest of guests) guest.stop();
  };
  const remove = () => rmSync(folder, { recursive: true, force: true });
  const onSignal = (signal) => {
    stop();
    remove();
    process.exit(signal === 'SIGINT' ? 130 : 143);
  };
  for (const signal of ['SIGINT', 'SIGTERM']) process.once(signal, onSignal);
  let peerEnded;
  try {
    if (peer !== undefined) {
      const second = new Guest(folder, 'b', peer, join(folder, 'cable'));
      guests.push(second);
      await new Promise((resolve, reject) => {
        peerEnded = second.run(timeoutSeconds + 2 * bootSeconds, resolve);
        peerEnded.then(resolve, reject);
      });
    }
    const first = new Guest(folder, peer === undefined ? 'one' : 'a', command, join(folder, 'cable'));
    guests.push(first);
    return await first.run(timeoutSeconds);
  } finally {
    stop();
    await peerEnded?.catch(() => {});
    remove();
    for (const signal of ['SIGINT', 'SIGTERM']) process.off(signal, onSignal);
  }
}

if (process.argv[1] === import.meta.filename) {
  await runMain(async () => {
    const { values, positionals } = parseArgs({
      options: { timeout: { type: 'string', default: '600' }, prepare: { type: 'boolean' }, peer: { type: 'string' } },
      allowPositionals: true,
    });
    const reason = prepare();
    if (reason !== undefined) {
      process.stderr.write(`rdma-vm: ${reason}\n`);
      return 77;
    }
    if (values.prepare) return 0;
    if (positionals.length !== 1)
      throw new SetupError('usage: rdma-vm.mjs [--timeout SECONDS] [--peer COMMAND] COMMAND');
    return await runInGuest(positionals[0], { timeoutSeconds: Number(values.timeout), peer: values.peer });
  });
}
