/**
 * Hosts of our own on this machine: network namespaces, each with one address, joined by a bridge in a namespace of its
 * own. Needs root and `ip`; nothing of the machine's own network is touched.
 */
import { spawnSync } from 'node:child_process';
import type { TestContext } from 'node:test';

function ip(...args: string[]): void {
  const done = spawnSync('ip', args, { encoding: 'utf8' });
  if (done.status !== 0) throw new Error(`ip ${args.join(' ')}: ${done.error?.message ?? done.stderr}`);
}

/** Why there can be no hosts here; undefined when there can. */
export function whyNoHosts(): string | undefined {
  if (process.getuid?.() !== 0) return 'network namespaces need root';
  const name = `dsp${process.pid}probe`;
  const made = spawnSync('ip', ['netns', 'add', name], { encoding: 'utf8' });
  if (made.status !== 0) return `no network namespace can be made: ${made.error?.message ?? made.stderr}`;
  ip('netns', 'delete', name);
  return undefined;
}

export interface Host {
  readonly address: string;
  /** Name of its network namespace, and of the host itself. */
  readonly name: string;
  /** The command that runs node on this host. */
  readonly node: readonly string[];
  /** Takes the host's cable out, or puts it back. */
  cable(state: 'in' | 'out'): void;
  /** From now on the host can reach none of these TCP ports anywhere. */
  forbid(firstPort: number, lastPort: number): void;
}

/** Makes `count` hosts, 10.99.0.1 and so on; they go when the test ends, after the programs that it started later. */
export function makeHosts(context: Pick<TestContext, 'after'>, count: number): Host[] {
  const prefix = `dsp${process.pid}`;
  const wires = `${prefix}br`;
  const names = Array.from({ length: count }, (_, i) => `${prefix}h${i + 1}`);
  context.after(() => {
    for (const name of [...names, wires]) spawnSync('ip', ['netns', 'delete', name]);
  });
  ip('netns', 'add', wires);
  ip('-n', wires, 'link', 'add', 'bridge', 'type', 'bridge');
  ip('-n', wires, 'link', 'set', 'bridge', 'up');
  return names.map((name, i) => {
    const address = `10.99.0.${i + 1}`;
    const port = `port${i + 1}`;
    ip('netns', 'add', name);
    ip('-n', wires, 'link', 'add', port, 'type', 'veth', 'peer', 'name', 'eth0', 'netns', name);
    ip('-n', wires, 'link', 'set', port, 'master', 'bridge', 'up');
    ip('-n', name, 'address', 'add', `${address}/24`, 'dev', 'eth0');
    ip('-n', name, 'link', 'set', 'lo', 'up');
    ip('-n', name, 'link', 'set', 'eth0', 'up');
    return {
      address,
      name,
      node: ['ip', 'netns', 'exec', name, process.execPath],
      forbid: (first, last) => ip('-n', name, 'rule', 'add', 'ipproto', 'tcp', 'dport', `${first}-${last}`, 'prohibit'),
      cable: (state) => ip('-n', wires, 'link', 'set', port, state === 'in' ? 'up' : 'down'),
    };
  });
}
