/**
 * Where a server listens: an address, a host name, a network interface (`tcp://ib0:0`) or a subnet of which this host
 * has an address (`tcp://10.1.0.0/16:0`), so that one command line serves every node of a cluster. Internal.
 */
import { lookup } from 'node:dns/promises';
import { BlockList, isIP } from 'node:net';
import { networkInterfaces } from 'node:os';
import { DiasporaError } from './errors.js';
import { type Endpoint, parseEndpoint } from './options.js';

interface InterfaceAddress {
  readonly interface: string;
  readonly address: string;
  readonly family: 'ipv4' | 'ipv6';
}

/** Of all interfaces that are up, IPv4 first; without link-local ones, which need a zone to be reached. */
function ownAddresses(): InterfaceAddress[] {
  const all = Object.entries(networkInterfaces()).flatMap(([name, entries]) =>
    (entries ?? []).map(({ address, family }) => ({
      interface: name,
      address,
      family: family === 'IPv4' ? ('ipv4' as const) : ('ipv6' as const),
    })),
  );
  const reachable = all.filter(({ address }) => !address.toLowerCase().startsWith('fe80:'));
  return reachable.sort((a, b) => a.family.localeCompare(b.family));
}

function refused(text: string, what: string, cause?: unknown): DiasporaError {
  return new DiasporaError('INVALID_ARGUMENT', `cannot listen on ${text}: ${what}`, { address: text, cause });
}

function addressInSubnet(text: string, subnet: string): string {
  const [network = '', bits = ''] = subnet.split('/');
  const family = isIP(network) === 6 ? 'ipv6' : 'ipv4';
  const list = new BlockList();
  try {
    list.addSubnet(network, Number(bits), family);
  } catch (cause) {
    throw refused(text, `${subnet} is not a subnet`, cause);
  }
  const found = ownAddresses().find((own) => own.family === family && list.check(own.address, family));
  if (found !== undefined) return found.address;
  throw refused(text, `no interface of this host has an address in ${subnet}`);
}

async function addressOf(text: string, host: string): Promise<string> {
  if (isIP(host) !== 0) return host;
  const byInterface = ownAddresses().find((own) => own.interface === host);
  if (byInterface !== undefined) return byInterface.address;
  try {
    return (await lookup(host)).address;
  } catch (cause) {
    const names = [...new Set(ownAddresses().map((own) => own.interface))].join(', ');
    throw refused(
      text,
      `${host} is no interface with an address here (${names}) and no host name that resolves`,
      cause,
    );
  }
}

/** The numeric address and port that `text` means on this host. INVALID_ARGUMENT when it means none. */
export async function parseListen(text: string): Promise<Endpoint> {
  const subnet = /^(?:tcp:\/\/)?(?:\[([0-9a-fA-F:]+\/\d{1,3})\]|([\d.]+\/\d{1,2})):(\d{1,5})$/.exec(String(text));
  if (subnet === null) {
    const { host, port } = parseEndpoint('listen', text);
    return { host: await addressOf(text, host), port };
  }
  const { port } = parseEndpoint('listen', `host:${subnet[3]}`);
  return { host: addressInSubnet(text, (subnet[1] ?? subnet[2]) as string), port };
}
