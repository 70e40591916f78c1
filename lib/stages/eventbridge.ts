/**
 * Event patterns in the language of Amazon EventBridge: compiled once, into closures that say whether an event matches.
 *
 * The rules are those of "Comparison operators for use in event patterns in Amazon EventBridge" of the AWS documentation,
 * also where they surprise: they look at leaves (strings, numbers, booleans, null) and the leaves in lists, so that a
 * field with an object or an empty list is absent to every rule, `exists` included; of a list of objects, one must
 * satisfy the nested pattern as a whole; `anything-but` wants a leaf that is present and is something else.
 *
 * Accepted beyond AWS: a primitive in place of a list of one; lists of strings in every rule about text; any primitives
 * in `anything-but`; any numbers and pairs in `numeric`; an `$or` of one pattern; a nested `{}`, which asks for nothing.
 * Different: `{ exists: false }` below a list of objects asks for one object without the field, not for a list without
 * it. `$or` is never the name of a field. A key with dots is a path; at each of its steps, a field of the event that has
 * all that remains of the key as its name comes first.
 *
 * Thread: the caller's. Events are JSON values: a list that contained itself would never end. The time to match is at
 * most the size of the event times that of the pattern; the stack follows the depth of the pattern, never of the event.
 */
import { BlockList, isIP } from 'node:net';
import { DiasporaError } from '../errors.js';

type Leaf = string | number | boolean | null;
type Fields = Readonly<Record<string, unknown>>;
type Test<T> = (value: T) => boolean;

/** Of one leaf of an event; `undefined` stands for a field without any. */
type LeafTest = Test<Leaf | undefined>;
/** Makes the test of a rule from its operand; `path` is the operand's, for errors. */
type CompileRule = (operand: unknown, path: string) => LeafTest;

/** Objects inside each other in one pattern; each costs a few frames of the stack, at compilation and at each match. */
const depthMax = 64;
/** What an event has where a nested pattern looks for an object and there is none. */
const nothing: Fields = Object.freeze(Object.create(null) as Fields);

const leafExpected = 'a string, a finite number, true, false or null';
const textsExpected = 'a string or a list of at least one string';

function describe(value: unknown): string {
  if (typeof value === 'function') return 'a function';
  if (Array.isArray(value)) return value.length === 0 ? 'an empty list' : `a list of ${value.length}`;
  if (isFields(value)) return `an object with the keys {${Object.keys(value).slice(0, 8).join(', ')}}`;
  return typeof value === 'string' ? JSON.stringify(value) : String(value);
}

function refuse(path: string, expected: string, actual: unknown): DiasporaError {
  return new DiasporaError('INVALID_ARGUMENT', `${path} must be ${expected}, not ${describe(actual)}`);
}

function tooDeep(path: string): DiasporaError {
  return new DiasporaError('INVALID_ARGUMENT', `${path} is too deep: a pattern may nest ${depthMax} deep`);
}

function isLeaf(value: unknown): value is Leaf {
  return value === null || typeof value === 'string' || typeof value === 'number' || typeof value === 'boolean';
}

function isFields(value: unknown): value is Fields {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}

/** An object as JSON makes it. A Map, a Date or a RegExp has no keys, and would be a pattern that matches anything. */
function isPlain(value: unknown): value is Fields {
  if (!isFields(value)) return false;
  const prototype: unknown = Object.getPrototypeOf(value);
  return prototype === null || Object.getPrototypeOf(prototype) === null;
}

/** Runs tests until one gives `decisive`: that is the verdict, else the opposite. */
function combine<T>(tests: readonly Test<T>[], decisive: boolean): Test<T> {
  const [only] = tests;
  if (only !== undefined && tests.length === 1) return only;
  return (value) => {
    for (const test of tests) if (test(value) === decisive) return decisive;
    return !decisive;
  };
}

const anyOf = <T>(tests: readonly Test<T>[]): Test<T> => combine(tests, true);
const allOf = <T>(tests: readonly Test<T>[]): Test<T> => combine(tests, false);

/**
 * Of any value: whether it or, if it is a list, one of its candidates passes `test`; where there is none, `none` is
 * tested. Lists in lists count as one, and wait in `pending`: their depth is the sender's to choose, the stack is ours.
 */
function onSome<T>(isCandidate: (value: unknown) => value is T, test: Test<T>, none: T): Test<unknown> {
  return (value) => {
    if (isCandidate(value)) return test(value);
    if (!Array.isArray(value)) return test(none);
    let found = false;
    let pending: unknown[][] | undefined;
    for (let list: unknown[] | undefined = value; list !== undefined; list = pending?.pop()) {
      for (const element of list) {
        if (isCandidate(element)) {
          if (test(element)) return true;
          found = true;
        } else if (Array.isArray(element)) {
          pending ??= [];
          pending.push(element);
        }
      }
    }
    return !found && test(none);
  };
}

const onLeaves = (test: LeafTest): Test<unknown> => onSome<Leaf | undefined>(isLeaf, test, undefined);
const onObjects = (test: Test<Fields>): Test<unknown> => onSome(isFields, test, nothing);

function onText(test: Test<string>): LeafTest {
  return (leaf) => typeof leaf === 'string' && test(leaf);
}

/** Without regard to case: toLowerCase of the whole of Unicode, and the two small sigmas of Greek as one. */
function fold(text: string): string {
  return text.toLowerCase().replaceAll('ς', 'σ');
}

/** An operand that is a list, or one in place of a list of one. */
function listOf(operand: unknown, path: string, expected: string): unknown[] {
  if (!Array.isArray(operand)) return [operand];
  if (operand.length === 0) throw refuse(path, expected, operand);
  return Array.from(operand as unknown[]);
}

function textsOf(operand: unknown, path: string, expected: string = textsExpected): string[] {
  return listOf(operand, path, expected).map((text) => {
    if (typeof text === 'string') return text;
    throw refuse(path, expected, text);
  });
}

function namesOf(known: ReadonlyMap<unknown, unknown>): string {
  return [...known.keys()].join(', ');
}

/** The test of a rule, an object of one key; `known` are the rules that the place takes. */
function ruleOf(rule: Fields, path: string, known: ReadonlyMap<string, CompileRule>): LeafTest {
  const [name = '', ...others] = Object.keys(rule);
  const compile = known.get(name);
  if (compile !== undefined && others.length === 0) return compile(rule[name], `${path}.${name}`);
  throw refuse(path, `an object with exactly one key, one of ${namesOf(known)}`, rule);
}

/** `prefix` and `suffix`: texts, or { "equals-ignore-case": texts }. */
function compileAffix(has: (text: string, affix: string) => boolean): CompileRule {
  const anyAffix = (affixes: string[]): Test<string> => anyOf(affixes.map((affix) => (text) => has(text, affix)));
  const compileFolded: CompileRule = (operand, path) => {
    const test = anyAffix(textsOf(operand, path).map(fold));
    return onText((text) => test(fold(text)));
  };
  const folded = new Map([['equals-ignore-case', compileFolded]]);
  return (operand, path) => {
    if (isPlain(operand)) return ruleOf(operand, path, folded);
    return onText(anyAffix(textsOf(operand, path, `${textsExpected}, or { "equals-ignore-case": either }`)));
  };
}

function compileEqualsIgnoreCase(operand: unknown, path: string): LeafTest {
  const accepted = new Set(textsOf(operand, path).map(fold));
  return onText((text) => accepted.has(fold(text)));
}

/** What stands between the stars of a wildcard, without its escapes: at least one text. */
function splitWildcard(wildcard: string, path: string): string[] {
  const parts: string[] = [];
  let part = '';
  for (const [token] of wildcard.matchAll(/\\[*\\]|\\|\*+|[^*\\]+/g)) {
    if (token === '*') {
      parts.push(part);
      part = '';
    } else if (token === '\\' || token.startsWith('*')) {
      throw refuse(path, 'without two * in a row, and without \\ but in \\* and \\\\', wildcard);
    } else part += token.startsWith('\\') ? token.slice(1) : token;
  }
  return [...parts, part];
}

/**
 * Finds where the first occurrence of `part` at or after `from` ends; -1 for none. As Knuth, Morris and Pratt do it, at
 * each character of the text once: indexOf takes a second for 50,000 characters in 100,000, if they are chosen for it.
 */
function finder(part: string): (text: string, from: number) => number {
  // borders[n]: length of the longest text, shorter than n, that both starts and ends the first n characters of the part.
  const borders = new Int32Array(part.length + 1);
  const advance = (matched: number, unit: number): number => {
    let length = matched;
    while (length > 0 && part.charCodeAt(length) !== unit) length = borders[length]!;
    return part.charCodeAt(length) === unit ? length + 1 : 0;
  };
  for (let n = 1; n < part.length; n++) borders[n + 1] = advance(borders[n]!, part.charCodeAt(n));
  return (text, from) => {
    let matched = 0;
    for (let at = from; at < text.length; at++) {
      matched = advance(matched, text.charCodeAt(at));
      if (matched === part.length) return at + 1;
    }
    return -1;
  };
}

/** The first place that fits is as good as any for each part in turn, so nothing is ever tried twice. */
function wildcardTest(wildcard: string, path: string): Test<string> {
  const [head = '', ...middle] = splitWildcard(wildcard, path);
  const tail = middle.pop();
  if (tail === undefined) return (text) => text === head;
  const finds = middle.map(finder);
  return (text) => {
    const end = text.length - tail.length;
    if (end < head.length || !text.startsWith(head) || !text.endsWith(tail)) return false;
    let at = head.length;
    for (const find of finds) {
      at = find(text, at);
      if (at < 0 || at > end) return false;
    }
    return true;
  };
}

function literalOf(value: unknown, path: string, expected: string): Leaf {
  if (isLeaf(value) && (typeof value !== 'number' || Number.isFinite(value))) return value;
  throw refuse(path, expected, value);
}

function oneOf(literals: readonly Leaf[]): LeafTest {
  const [only] = literals;
  if (literals.length === 1) return (leaf) => leaf === only;
  const accepted = new Set<Leaf | undefined>(literals);
  return (leaf) => accepted.has(leaf);
}

function compileAnythingBut(operand: unknown, path: string): LeafTest {
  const expected = `${leafExpected}, a list of these, or an object with one of ${namesOf(textRules)}`;
  const excluded = isPlain(operand)
    ? ruleOf(operand, path, textRules)
    : oneOf(listOf(operand, path, expected).map((value) => literalOf(value, path, expected)));
  return (leaf) => leaf !== undefined && !excluded(leaf);
}

const comparisons = new Map<unknown, (limit: number) => Test<number>>([
  ['=', (limit) => (value) => value === limit],
  ['>', (limit) => (value) => value > limit],
  ['>=', (limit) => (value) => value >= limit],
  ['<', (limit) => (value) => value < limit],
  ['<=', (limit) => (value) => value <= limit],
]);

function compileNumeric(operand: unknown, path: string): LeafTest {
  if (!Array.isArray(operand) || operand.length === 0 || operand.length % 2 !== 0) {
    throw refuse(path, 'a list of pairs: [operator, number, ...]', operand);
  }
  const tests: Test<number>[] = [];
  for (let index = 0; index < operand.length; index += 2) {
    const compare = comparisons.get(operand[index]);
    const limit: unknown = operand[index + 1];
    if (compare === undefined) throw refuse(`${path}[${index}]`, `one of ${namesOf(comparisons)}`, operand[index]);
    if (!Number.isFinite(limit)) throw refuse(`${path}[${index + 1}]`, 'a finite number', limit);
    tests.push(compare(limit as number));
  }
  const test = allOf(tests);
  return (leaf) => typeof leaf === 'number' && test(leaf);
}

function compileExists(operand: unknown, path: string): LeafTest {
  if (typeof operand !== 'boolean') throw refuse(path, 'true or false', operand);
  return (leaf) => (leaf !== undefined) === operand;
}

/** An IPv4 address and the IPv6 address that it is mapped to (::ffff:a.b.c.d) are the same address. */
function compileCidr(operand: unknown, path: string): LeafTest {
  const [, address = '', bits] = /^([^/%]+)\/(\d{1,3})$/.exec(typeof operand === 'string' ? operand : '') ?? [];
  const version = isIP(address);
  if (version === 0 || Number(bits) > (version === 4 ? 32 : 128)) {
    throw refuse(path, 'an IPv4 or IPv6 block: address/bits', operand);
  }
  const block = new BlockList();
  block.addSubnet(address, Number(bits), version === 4 ? 'ipv4' : 'ipv6');
  return onText((text) => {
    const family = isIP(text);
    return family !== 0 && block.check(text, family === 4 ? 'ipv4' : 'ipv6');
  });
}

/** The rules that `anything-but` can deny. */
const textRules = new Map<string, CompileRule>([
  ['prefix', compileAffix((text, affix) => text.startsWith(affix))],
  ['suffix', compileAffix((text, affix) => text.endsWith(affix))],
  ['equals-ignore-case', compileEqualsIgnoreCase],
  ['wildcard', (operand, path) => onText(anyOf(textsOf(operand, path).map((text) => wildcardTest(text, path))))],
]);

const rules = new Map<string, CompileRule>([
  ...textRules,
  ['anything-but', compileAnythingBut],
  ['numeric', compileNumeric],
  ['exists', compileExists],
  ['cidr', compileCidr],
]);

function compileMatchers(value: unknown, path: string): Test<unknown> {
  const expected = `${leafExpected}, or an object with one of ${namesOf(rules)}`;
  const literals: Leaf[] = [];
  const tests: LeafTest[] = [];
  for (const [index, matcher] of listOf(value, path, 'a list of at least one matcher').entries()) {
    const at = Array.isArray(value) ? `${path}[${index}]` : path;
    if (isPlain(matcher)) tests.push(ruleOf(matcher, at, rules));
    else literals.push(literalOf(matcher, at, expected));
  }
  if (literals.length > 0) tests.unshift(oneOf(literals));
  return onLeaves(anyOf(tests));
}

/** Tests the event's own field of the name `key` or, if there is none, the one at the end of the path that dots make. */
function follow(key: string, test: Test<unknown>): Test<Fields> {
  const dot = key.indexOf('.');
  const otherwise: Test<Fields> =
    dot < 0 ? () => test(undefined) : follow(key.slice(0, dot), onObjects(follow(key.slice(dot + 1), test)));
  return (fields) => (Object.hasOwn(fields, key) ? test(fields[key]) : otherwise(fields));
}

function compileOr(patterns: unknown, path: string, depth: number): Test<Fields> {
  if (!Array.isArray(patterns) || patterns.length === 0) throw refuse(path, 'a list of one pattern or more', patterns);
  return anyOf(Array.from(patterns, (pattern, index) => compilePattern(pattern, `${path}[${index}]`, depth)));
}

function compilePattern(pattern: unknown, path: string, depth: number): Test<Fields> {
  if (!isPlain(pattern)) throw refuse(path, 'a pattern, which is a plain object', pattern);
  if (depth > depthMax) throw tooDeep(path);
  const tests = Object.keys(pattern).map((key) => {
    const at = `${path}.${key}`;
    const value = pattern[key];
    if (key === '$or') return compileOr(value, at, depth + 1);
    const bottom = depth + key.split('.').length;
    if (bottom - 1 > depthMax) throw tooDeep(at);
    return follow(key, isPlain(value) ? onObjects(compilePattern(value, at, bottom)) : compileMatchers(value, at));
  });
  return allOf(tests);
}

/**
 * Compiles `pattern`; the function that it gives says of an event whether it matches. Throws INVALID_ARGUMENT for what
 * is no pattern, with the place in it and what is allowed there. The pattern may change afterwards without effect.
 *
 * An event that is no object matches as one without fields does. "Ignore case" is toLowerCase on both sides, for all of
 * Unicode; what changes its length with its case (ß and SS) stays different.
 */
export function compileEventBridge(pattern: unknown): (event: unknown) => boolean {
  const test = compilePattern(pattern, 'pattern', 1);
  return (event) => test(isFields(event) ? event : nothing);
}
