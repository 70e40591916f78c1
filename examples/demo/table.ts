/** The demo's result as one table. */
import type { DriverCounters } from 'diaspora-stream';
import type { ConsumerReport, ProducerReport } from './messages.js';

/** The value below which `part` of the values lie. */
function percentile(values: readonly number[], part: number): number {
  const sorted = values.toSorted((a, b) => a - b);
  return sorted[Math.max(0, Math.ceil(sorted.length * part) - 1)] ?? Number.NaN;
}

function latencies(values: readonly number[]): string {
  return `${percentile(values, 0.5).toFixed(2)} ms / ${percentile(values, 0.99).toFixed(2)} ms`;
}

function grouped(value: number): string {
  return value.toLocaleString('en-US');
}

function moved({ dataBytesByRma, dataBytesCopied }: DriverCounters): string {
  return `${grouped(dataBytesByRma)} by RMA, ${grouped(dataBytesCopied)} copied`;
}

export interface Results {
  readonly source: string;
  readonly producer: ProducerReport;
  readonly consumer: ConsumerReport;
  readonly server: DriverCounters;
}

export function checksumsEqual({ producer, consumer }: Results): boolean {
  return consumer.damaged === 0 && consumer.events === producer.events && consumer.sha256 === producer.sha256;
}

export function table(results: Results): string {
  const { producer, consumer, server, source } = results;
  const seconds = (consumer.lastReceivedAt - producer.firstPushAt) / 1e6;
  const rows: [string, string][] = [
    ['input', source],
    ['provider', producer.counters.providers.join(' ')],
    ['events', grouped(consumer.events)],
    ['bytes of event data', grouped(consumer.bytes)],
    [
      'first push to last event',
      `${(seconds * 1000).toFixed(1)} ms, ${(consumer.bytes / 1e6 / seconds).toFixed(0)} MB/s`,
    ],
    ['push latency p50 / p99', latencies(producer.pushLatenciesMs)],
    ['end-to-end latency p50 / p99', latencies(consumer.latenciesMs)],
    ['producer, bytes', moved(producer.counters)],
    ['server, bytes', moved(server)],
    ['consumer, bytes', moved(consumer.counters)],
    ['checksums equal', checksumsEqual(results) ? 'yes' : `NO, ${consumer.damaged} of ${consumer.events} differ`],
    ['rotation axis', `column ${consumer.centre}`],
    ['pictures', consumer.pictures.join('  ')],
  ];
  const width = Math.max(...rows.map(([name]) => name.length));
  const right = Math.max(...rows.map(([, value]) => value.length));
  const rule = `+-${'-'.repeat(width)}-+-${'-'.repeat(right)}-+`;
  const lines = rows.map(([name, value]) => `| ${name.padEnd(width)} | ${value.padEnd(right)} |`);
  return [rule, ...lines, rule].join('\n');
}
