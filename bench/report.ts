/** The result of a run as JSON and as a Markdown table. Pure. */

export interface ResultRow {
  readonly workload: string;
  readonly action: 'produce' | 'consume';
  readonly durability: string;
  readonly eventsPerSecond: number;
  /** Event data, 10^6 bytes a second; 0 for metadata only. */
  readonly mbPerSecond: number;
  /** Raw RMA of the same size (and raw disk for synced produce, whichever is lower), same run. NaN: none applies. */
  readonly ceilingMbPerSecond: number;
  readonly ofCeiling: number;
  /** Processor seconds per 10^9 bytes of metadata and data. */
  readonly clientCpuPerGb: number;
  readonly serverCpuPerGb: number;
}

export interface BenchReport {
  readonly date: string;
  readonly command: string;
  readonly node: string;
  readonly provider: string;
  readonly runs: number;
  readonly rows: readonly ResultRow[];
  /** Closed loop, microseconds; rawRoundTrip: a blocking message of 256 bytes there and back. */
  readonly latency: { p50: number; p99: number; p999: number; rawRoundTrip: number; ofRaw: number } | undefined;
}

function rate(value: number): string {
  if (value >= 1e6) return `${(value / 1e6).toFixed(2)} M`;
  return value >= 1e3 ? `${(value / 1e3).toFixed(1)} k` : value.toFixed(0);
}

function number(value: number, digits: number): string {
  return Number.isFinite(value) && value > 0 ? value.toFixed(digits) : '-';
}

export function renderTable(report: BenchReport): string {
  const lines = [
    `Provider ${report.provider}, Node ${report.node}, ${report.date}, median of ${report.runs}: \`${report.command}\``,
    '',
    '| workload | action | durability | events/s | data MB/s | raw ceiling MB/s | of ceiling | CPU s/GB client | server |',
    '|---|---|---|---|---|---|---|---|---|',
  ];
  for (const r of report.rows) {
    const share = Number.isFinite(r.ofCeiling) ? `${(r.ofCeiling * 100).toFixed(0)} %` : '-';
    const cells = [r.workload, r.action, r.durability, rate(r.eventsPerSecond), number(r.mbPerSecond, 0)];
    cells.push(number(r.ceilingMbPerSecond, 0), share, number(r.clientCpuPerGb, 2), number(r.serverCpuPerGb, 2));
    lines.push(`| ${cells.join(' | ')} |`);
  }
  const l = report.latency;
  if (l !== undefined) {
    lines.push(
      '',
      `Closed loop, 128 B: p50 ${l.p50.toFixed(0)} µs, p99 ${l.p99.toFixed(0)} µs, p99.9 ${l.p999.toFixed(0)} µs; ` +
        `raw blocking round trip ${l.rawRoundTrip.toFixed(1)} µs; p50 is ${l.ofRaw.toFixed(1)} times that.`,
    );
  }
  return lines.join('\n');
}

/** Puts `table` between the markers of its provider. Throws when the markers are missing. */
export function replaceTable(document: string, provider: string, table: string): string {
  const begin = `<!-- begin ${provider} -->`;
  const end = `<!-- end ${provider} -->`;
  const from = document.indexOf(begin);
  const to = document.indexOf(end);
  if (from < 0 || to < from) throw new Error(`bench/README.md has no markers for provider ${provider}`);
  return `${document.slice(0, from + begin.length)}\n${table}\n${document.slice(to)}`;
}
