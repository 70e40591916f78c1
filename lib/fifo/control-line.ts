/**
 * The lines of the control file, as the reference has them:
 *
 *     path -> topic (format=json, batch_size=128)     lines written to the pipe become events
 *     path <- topic (batch_size=128, name=reader)     events are written to the pipe, one a line
 *
 * The options may be left out. Empty lines, and those that begin with #, say nothing. Pure.
 */
import { BatchSize, batchEventsMax } from '../batch-size.js';
import { DiasporaError } from '../errors.js';
import { checkName } from '../names.js';

/** raw: a line is text, the metadata a JSON string. json: a line is JSON. */
export type LineFormat = 'raw' | 'json';

interface Attachment {
  readonly path: string;
  readonly topic: string;
  readonly format: LineFormat;
  readonly batchSize: BatchSize;
}

/** Lines of a pipe become events of a topic. */
export interface FeedCommand extends Attachment {
  readonly kind: 'feed';
}

/** Events of a topic become lines of a pipe. */
export interface TapCommand extends Attachment {
  readonly kind: 'tap';
  /** Name of the consumer; undefined: one that follows from the path. */
  readonly name: string | undefined;
}

const feedKeys = ['format', 'batch_size'];
const tapKeys = ['format', 'batch_size', 'name'];

function malformed(what: string): DiasporaError {
  return new DiasporaError('INVALID_ARGUMENT', what);
}

function readPairs(text: string, known: readonly string[]): ReadonlyMap<string, string> {
  const pairs = new Map<string, string>();
  for (const pair of text.split(',')) {
    if (pair.trim() === '') continue;
    const at = pair.indexOf('=');
    const [key, value] = [pair.slice(0, at).trim(), pair.slice(at + 1).trim()];
    if (at < 0 || value === '') throw malformed(`'${pair.trim()}' is not KEY=VALUE`);
    if (!known.includes(key)) throw malformed(`there is no option '${key}' here, only ${known.join(', ')}`);
    if (pairs.has(key)) throw malformed(`the option '${key}' is given twice`);
    pairs.set(key, value);
  }
  return pairs;
}

function readFormat(text: string): LineFormat {
  if (text === 'raw' || text === 'json') return text;
  throw malformed(`format must be raw or json, not '${text}'`);
}

function readBatchSize(text: string | undefined): BatchSize {
  if (text === undefined || text === 'adaptive') return BatchSize.adaptive();
  const events = Number(text);
  if (/^\d+$/.test(text) && events >= 1 && events <= batchEventsMax) return BatchSize.of(events);
  throw malformed(`batch_size must be adaptive or a number of 1 to ${batchEventsMax}, not '${text}'`);
}

/** Undefined for a line that says nothing. Throws INVALID_ARGUMENT and INVALID_NAME. */
export function parseControlLine(line: string): FeedCommand | TapCommand | undefined {
  const text = line.trim();
  if (text === '' || text.startsWith('#')) return undefined;
  const match = /^(.*?\S)\s*(->|<-)\s*([^()]*[^()\s])\s*(?:\(([^()]*)\))?$/s.exec(text);
  if (match === null) throw malformed(`it must be PATH -> TOPIC or PATH <- TOPIC, and (KEY=VALUE, ...) if need be`);
  const [, path, arrow, topic, options = ''] = match as unknown as [string, string, string, string, string?];
  checkName('topic', topic);
  const isFeed = arrow === '->';
  const pairs = readPairs(options, isFeed ? feedKeys : tapKeys);
  const format = readFormat(pairs.get('format') ?? (isFeed ? 'raw' : 'json'));
  const common = { path, topic, format, batchSize: readBatchSize(pairs.get('batch_size')) };
  if (isFeed) return { kind: 'feed', ...common };
  const name = pairs.get('name');
  return { kind: 'tap', ...common, name: name === undefined ? undefined : checkName('consumer', name) };
}
