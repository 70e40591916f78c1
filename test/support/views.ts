/**
 * Random views of views beside their model: a list of what is selected, which is sliced. The model knows nothing of
 * ranges, joining and base coordinates.
 *
 * DIASPORA_VIEWS: how many compositions each test makes; every one has its own seed, which follows from DIASPORA_SEED.
 */
import type { DataDescriptor, DataRange } from '../../lib/index.js';
import { Random, seed } from './random.js';

/** The bytes that are selected, or their positions. */
export type List = Uint8Array | Uint32Array;

type Step =
  | { readonly kind: 'sub'; readonly offset: number; readonly size: number }
  | {
      readonly kind: 'strided';
      readonly offset: number;
      readonly count: number;
      readonly block: number;
      readonly gap: number;
    }
  | { readonly kind: 'unstructured'; readonly ranges: readonly DataRange[] };

/** A view, what it must select, and how it came about. */
export interface View<L extends List> {
  readonly descriptor: DataDescriptor;
  readonly selected: L;
  readonly steps: readonly Step[];
}

/** Views in views; deeper ones select next to nothing. */
const levelsMax = 5;
const blocksMax = 40;
/** Of one view in fifty: more ranges than a message of a fetch holds. */
const manyBlocksMax = 3000;

/** How many compositions a test makes. */
export function compositions(fallback: number): number {
  return Number(process.env['DIASPORA_VIEWS'] ?? fallback);
}

/** What the test of composition `n` says when it fails. */
export function describeView(n: number, length: number, steps: readonly Step[]): string {
  return `DIASPORA_SEED=${seed}, composition ${n}: ${JSON.stringify(steps)} of ${length} bytes`;
}

/** Composition `n` of this run, of all that `list` holds. */
export function randomView<L extends List>(n: number, list: L, whole: DataDescriptor): View<L> {
  const random = new Random(seed * 100_003 + n);
  const steps: Step[] = [];
  let descriptor = whole;
  let selected = list;
  for (let level = random.below(levelsMax + 1); level > 0; level -= 1) {
    const step = randomStep(random, selected.length);
    steps.push(step);
    descriptor = view(descriptor, step);
    selected = slice(selected, step);
  }
  return { descriptor, selected, steps };
}

function view(descriptor: DataDescriptor, step: Step): DataDescriptor {
  if (step.kind === 'sub') return descriptor.makeSubView(step.offset, step.size);
  if (step.kind === 'unstructured') return descriptor.makeUnstructuredView(step.ranges);
  return descriptor.makeStridedView(step.offset, step.count, step.block, step.gap);
}

/** The model of `view`. */
function slice<L extends List>(list: L, step: Step): L {
  const cut = (offset: number, size: number): L => list.slice(offset, offset + size) as L;
  if (step.kind === 'sub') return cut(step.offset, step.size);
  if (step.kind === 'unstructured')
    return join(
      list,
      step.ranges.map(([offset, size]) => cut(offset, size)),
    );
  const { offset, count, block, gap } = step;
  return join(
    list,
    Array.from({ length: count }, (_, i) => cut(offset + i * (block + gap), block)),
  );
}

function join<L extends List>(like: L, parts: readonly L[]): L {
  const length = parts.reduce((sum, part) => sum + part.length, 0);
  const whole = (like instanceof Uint8Array ? new Uint8Array(length) : new Uint32Array(length)) as L;
  let at = 0;
  for (const part of parts) {
    whole.set(part, at);
    at += part.length;
  }
  return whole;
}

function randomStep(random: Random, length: number): Step {
  const kind = random.below(3);
  if (kind === 0) return randomSub(random, length);
  return kind === 1 ? randomStrided(random, length) : randomUnstructured(random, length);
}

/** Within; now and then nothing, at the edges, and beyond the end. */
function randomSub(random: Random, length: number): Step {
  const isEdge = random.chance(0.1);
  const offset = isEdge ? random.pick([0, length, length + 3, 2 ** 40]) : random.below(Math.ceil(length / 2) + 1);
  const rest = Math.max(0, length - offset);
  const size = isEdge ? random.pick([0, 1, rest, rest + 1, 2 ** 53 - 1]) : 1 + random.below(2 * rest + 1);
  return { kind: 'sub', offset, size };
}

function randomStrided(random: Random, length: number): Step {
  const offset = random.chance(0.2) ? 0 : random.below(random.chance(0.05) ? length + 1 : Math.ceil(length / 2));
  const room = length - offset;
  // Nothing, with any other numbers.
  if (room === 0 || random.chance(0.03)) {
    const [count, block] = random.pick([
      [0, 0],
      [0, 5],
      [5, 0],
    ] as const);
    return { kind: 'strided', offset: random.below(2 * length + 1), count, block, gap: random.below(9) };
  }
  const most = random.chance(0.02) ? manyBlocksMax : blocksMax;
  const block = 1 + random.below(random.chance(0.5) ? Math.min(room, 16) : Math.ceil(room / (1 + random.below(most))));
  const gap = random.chance(0.1) ? 0 : random.below(random.chance(0.5) ? 16 : 2 * Math.ceil(room / most) + 1);
  const fitting = Math.min(Math.floor((room - block) / (block + gap)) + 1, most);
  const count = random.chance(0.5) ? fitting : 1 + random.below(fitting);
  // Now and then the last block ends where the list ends.
  const last = length - (count * (block + gap) - gap);
  return { kind: 'strided', offset: random.chance(0.3) ? last : offset, count, block, gap };
}

function randomUnstructured(random: Random, length: number): Step {
  const cuts = Array.from({ length: 2 * (random.chance(0.03) ? 0 : 1 + random.below(8)) }, () =>
    random.below(length + 1),
  );
  // Some touch, some are empty, and some are at the edges.
  for (let i = random.below(4); i > 0 && cuts.length > 0; i -= 1) {
    cuts[random.below(cuts.length)] = random.pick([0, length, random.pick(cuts)]);
  }
  cuts.sort((a, b) => a - b);
  const ranges: DataRange[] = [];
  for (let i = 0; i < cuts.length; i += 2) {
    const [from, to] = [cuts[i] as number, cuts[i + 1] as number];
    ranges.push([from, to - from]);
  }
  return { kind: 'unstructured', ranges };
}
