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
  try {
    return makeAjv('ajv/dist/2020.js').compile(schema);
  } catch (error) {
    try {
      return makeAjv('ajv').compile(schema);
    } catch {
      throw error;
    }
  }
}

/** "detector/id must be integer (type)": the path, what is wrong, the rule. */
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
  return (metadata) => (accepts(metadata) ? undefined : (accepts.errors ?? []).map(formatError).join('; '));
}
