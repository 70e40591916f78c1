/** Validation by JSON Schema, with Ajv, which is loaded on first use. */
import { createRequire } from 'node:module';
import type { Ajv as AjvClass, ErrorObject } from 'ajv';
import { DiasporaError, wrapError } from '../errors.js';
import type { JsonSchema } from './types.js';

const require = createRequire(import.meta.url);
const options = { allErrors: true, strict: false } as const;

function makeAjv(module: 'ajv' | 'ajv/dist/2020.js'): AjvClass {
  const { default: Ajv } = require(module) as { readonly default: new (given: typeof options) => AjvClass };
  const ajv = new Ajv(options);
  const { default: addFormats } = require('ajv-formats') as { readonly default: (ajv: AjvClass) => unknown };
  addFormats(ajv);
  return ajv;
}

/**
 * `$schema` decides on the draft. Without it the schema is one of 2020-12, or of draft-07 when only that allows it (a list
 * as `items`).
 */
function compile(schema: JsonSchema): ReturnType<AjvClass['compile']> {
  const named = schema['$schema'];
  if (named !== undefined) {
    const is2020 = typeof named === 'string' && named.includes('2020-12');
    return makeAjv(is2020 ? 'ajv/dist/2020.js' : 'ajv').compile(schema);
  }
  return makeAjv(hasListOfItems(schema) ? 'ajv' : 'ajv/dist/2020.js').compile(schema);
}

/** Keywords of 2020-12 that draft-07 would pass over in silence. */
const newer = ['prefixItems', 'unevaluatedItems', 'unevaluatedProperties', 'dependentRequired', 'dependentSchemas'];

/** A list as `items` anywhere: only draft-07 has that. INVALID_ARGUMENT together with keywords that only 2020-12 has. */
function hasListOfItems(schema: JsonSchema): boolean {
  let hasList = false;
  let hasNewer: string | undefined;
  // What is inside const, enum, default and examples is data.
  const walk = (part: unknown): void => {
    if (typeof part !== 'object' || part === null) return;
    for (const [key, value] of Object.entries(part)) {
      if (['const', 'enum', 'default', 'examples'].includes(key)) continue;
      if (key === 'items' && Array.isArray(value)) hasList = true;
      if (newer.includes(key)) hasNewer = key;
      walk(value);
    }
  };
  walk(schema);
  if (!hasList || hasNewer === undefined) return hasList;
  throw new DiasporaError('INVALID_ARGUMENT', `a list as items is draft-07, '${hasNewer}' is not: name a $schema`);
}

/** "metadata/detector/id must be integer (type)": the path, what is wrong, the rule. */
function formatError({ instancePath, message, keyword }: ErrorObject): string {
  const path = instancePath === '' ? 'the metadata' : `metadata${instancePath}`;
  return `${path} ${message ?? 'is not valid'} (${keyword})`;
}

/** Gives what is wrong with a value, undefined for nothing. A schema that does not compile is INVALID_ARGUMENT. */
export function compileJsonSchema(schema: JsonSchema): (metadata: unknown) => string | undefined {
  if (typeof schema !== 'object' || schema === null || Array.isArray(schema)) {
    throw new DiasporaError('INVALID_ARGUMENT', 'a JSON schema must be an object');
  }
  let accepts: ReturnType<typeof compile>;
  try {
    accepts = compile(schema);
  } catch (error) {
    throw wrapError('INVALID_ARGUMENT', 'the JSON schema is not valid', error);
  }
  // It would validate by promises, and accept everything here.
  if ('$async' in accepts) throw new DiasporaError('INVALID_ARGUMENT', 'a JSON schema must not be $async');
  return (metadata) => (accepts(metadata) ? undefined : (accepts.errors ?? []).map(formatError).join('; '));
}
