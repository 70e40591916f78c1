/**
 * JSON Schemas as schema-codec.ts reads them: their keywords checked, their local references resolved. Pure.
 */
import { DiasporaError, wrapError } from '../errors.js';
import { isObject } from './json-value.js';

export type Schema = Record<string, unknown>;

const typeNames = ['null', 'boolean', 'integer', 'number', 'string', 'array', 'object'];

function isSchema(value: unknown): boolean {
  return isObject(value) || typeof value === 'boolean';
}

function isString(value: unknown): boolean {
  return typeof value === 'string';
}

function isNumber(value: unknown): boolean {
  return typeof value === 'number';
}

export function isCount(value: unknown): boolean {
  return Number.isSafeInteger(value) && (value as number) >= 0;
}

function isFilledArray(value: unknown): boolean {
  return Array.isArray(value) && value.length > 0;
}

function isTypes(value: unknown): boolean {
  const names: unknown[] = Array.isArray(value) ? value : [value];
  return names.length > 0 && names.every((name) => typeNames.includes(name as string));
}

/** The keywords that matter here, and what they must be. */
const keywords: readonly (readonly [name: string, accepts: (value: unknown) => boolean, rule: string])[] = [
  ['$id', isString, 'a string'],
  ['$ref', isString, 'a string'],
  ['type', isTypes, 'the name of a type of JSON, or an array of them'],
  ['nullable', (value) => typeof value === 'boolean', 'a boolean'],
  ['enum', isFilledArray, 'an array with at least one value'],
  ['anyOf', isFilledArray, 'an array with at least one schema'],
  ['oneOf', isFilledArray, 'an array with at least one schema'],
  ['allOf', isFilledArray, 'an array with at least one schema'],
  ['minimum', isNumber, 'a number'],
  ['maximum', isNumber, 'a number'],
  ['exclusiveMinimum', isNumber, 'a number'],
  ['exclusiveMaximum', isNumber, 'a number'],
  ['minItems', isCount, 'an integer of at least 0'],
  ['maxItems', isCount, 'an integer of at least 0'],
  ['items', (value) => isSchema(value) || Array.isArray(value), 'a schema, or an array of schemas'],
  ['prefixItems', Array.isArray, 'an array of schemas'],
  ['properties', isObject, 'an object'],
  ['patternProperties', isObject, 'an object'],
  ['additionalProperties', isSchema, 'a schema'],
  ['required', (value) => Array.isArray(value) && value.every(isString), 'an array of names'],
];

function malformed(where: string, what: string, cause?: unknown): DiasporaError {
  return new DiasporaError('INVALID_ARGUMENT', `the JSON schema is not valid: ${where} ${what}`, { cause });
}

/** An object whose keywords have values of the right kind. */
export function checkSchema(schema: unknown, where: string): Schema {
  if (!isObject(schema)) throw malformed(where, 'must be an object');
  for (const [name, accepts, rule] of keywords) {
    if (schema[name] !== undefined && !accepts(schema[name])) throw malformed(`${where}/${name}`, `must be ${rule}`);
  }
  return schema;
}

/** References below it are relative to another place. */
export function isResource(schema: unknown): boolean {
  if (!isObject(schema)) return false;
  const id = schema['$id'];
  return typeof id === 'string' && !id.startsWith('#');
}

/** The names on the way that a local reference (RFC 6901, as a fragment) describes. */
function stepsOf(ref: string, where: string): string[] {
  let pointer: string;
  try {
    pointer = decodeURIComponent(ref.slice('#/'.length));
  } catch (error) {
    throw malformed(`${where}/$ref`, 'is not a JSON pointer', error);
  }
  return pointer.split('/').map((step) => step.replaceAll('~1', '/').replaceAll('~0', '~'));
}

/** What a local reference points to; undefined when it leads into another resource. */
export function resolve(root: Schema, ref: string, where: string): unknown {
  let target: unknown = root;
  for (const step of stepsOf(ref, where)) {
    if (typeof target !== 'object' || target === null || !Object.hasOwn(target, step)) {
      throw malformed(`${where}/$ref`, `points to ${ref}, which is not there`);
    }
    target = (target as Schema)[step];
    if (isResource(target)) return undefined;
  }
  return target;
}

/** The schema as it would be stored: a copy that nobody else changes, with own properties only. */
export function copySchema(schema: unknown): Schema {
  if (!isObject(schema)) throw malformed('it', 'must be an object');
  let copy: unknown;
  try {
    copy = JSON.parse(JSON.stringify(schema));
  } catch (error) {
    throw wrapError('INVALID_ARGUMENT', 'the JSON schema cannot be written as JSON', error);
  }
  return checkSchema(copy, '#');
}
