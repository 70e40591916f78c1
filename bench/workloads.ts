/** The named workloads: what is pushed, how often, into which kind of topic. */

export interface Workload {
  readonly name: string;
  /** Bytes of metadata text (JSON) per event. */
  readonly metadataBytes: number;
  /** Bytes of data per event; 0: none. */
  readonly dataBytes: number;
  /** Events of one run: enough for about half a second. */
  readonly events: number;
  readonly manager: 'memory' | 'log';
  readonly durability: 'memory' | 'os' | 'sync';
}

const kib = 1024;
const mib = 1024 * kib;

export const workloads: readonly Workload[] = [
  { name: 'small', metadataBytes: 128, dataBytes: 0, events: 2_000_000, manager: 'memory', durability: 'memory' },
  { name: '4k', metadataBytes: 128, dataBytes: 4 * kib, events: 100_000, manager: 'memory', durability: 'memory' },
  { name: '64k', metadataBytes: 128, dataBytes: 64 * kib, events: 12_000, manager: 'memory', durability: 'memory' },
  { name: '1m', metadataBytes: 128, dataBytes: mib, events: 1_500, manager: 'memory', durability: 'memory' },
  { name: 'small-sync', metadataBytes: 128, dataBytes: 0, events: 1_000_000, manager: 'log', durability: 'sync' },
  { name: '1m-sync', metadataBytes: 128, dataBytes: mib, events: 1_500, manager: 'log', durability: 'sync' },
];

/** A JSON text of exactly `bytes` bytes, different for each `index` below 10^9. */
export function metadataText(bytes: number, index: number): string {
  const head = `{"index":${String(index).padStart(9, '1')},"pad":"`;
  return `${head}${'x'.repeat(bytes - head.length - 2)}"}`;
}
