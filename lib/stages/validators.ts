/**
 * Validators, made ready to run. Thread: the producer's.
 */
import type { StandardSchemaV1 } from '@standard-schema/spec';
import { DiasporaError } from '../errors.js';
import { invalidOption } from '../options.js';
import { compileEventBridge } from './eventbridge.js';
import { compileJsonSchema } from './json-schema.js';
import type { EventData, JsonSchema, ValidatorFunction } from './types.js';

/** Throws INVALID_METADATA to refuse; returns the metadata to store (a schema may have changed it). */
export type Validate = (metadata: unknown, data: EventData | undefined) => unknown;

function isObject(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null;
}

export function isStandardSchema(value: unknown): value is StandardSchemaV1 {
  return (isObject(value) || typeof value === 'function') && isObject((value as Record<string, unknown>)['~standard']);
}

function refuse(message: string, cause?: unknown): DiasporaError {
  return new DiasporaError('INVALID_METADATA', `the validator refused the event: ${message}`, { cause });
}

function fromFunction(validate: ValidatorFunction<never>): Validate {
  return (metadata, data) => {
    let verdict: unknown;
    try {
      verdict = validate(metadata as never, data);
    } catch (error) {
      throw refuse(error instanceof Error ? error.message : String(error), error);
    }
    if (verdict === false) throw refuse('it returned false');
    if (verdict instanceof Promise) {
      verdict.catch(() => undefined);
      throw new DiasporaError('INVALID_ARGUMENT', 'a validator must not be asynchronous');
    }
    return metadata;
  };
}

function formatIssue({ message, path }: StandardSchemaV1.Issue): string {
  const steps = path?.map((step) => String(isObject(step) ? step['key'] : step)) ?? [];
  return steps.length === 0 ? message : `${steps.join('.')}: ${message}`;
}

/** Of a Standard Schema: the value that it gives back is what is stored. */
function fromStandardSchema(schema: StandardSchemaV1): Validate {
  return (metadata) => {
    let result: ReturnType<StandardSchemaV1['~standard']['validate']>;
    try {
      result = schema['~standard'].validate(metadata);
    } catch (error) {
      throw refuse(error instanceof Error ? error.message : String(error), error);
    }
    if (result instanceof Promise) {
      result.catch(() => undefined);
      throw new DiasporaError('INVALID_ARGUMENT', 'a schema for metadata must not validate asynchronously');
    }
    if (result.issues) throw refuse(result.issues.map(formatIssue).join('; '));
    return result.value;
  };
}

function fromJsonSchema(schema: JsonSchema): Validate {
  const findErrors = compileJsonSchema(schema);
  return (metadata) => {
    const errors = findErrors(metadata);
    if (errors !== undefined) throw refuse(errors);
    return metadata;
  };
}

function fromPattern(pattern: unknown): Validate {
  const matches = compileEventBridge(pattern);
  return (metadata) => {
    if (!matches(metadata)) throw refuse('it does not match the eventbridge pattern');
    return metadata;
  };
}

/** A schema in either form. */
export function compileSchema(schema: StandardSchemaV1 | JsonSchema): Validate {
  if (isStandardSchema(schema)) return fromStandardSchema(schema);
  if (isObject(schema)) return fromJsonSchema(schema);
  throw invalidOption('schema', 'a Standard Schema or a JSON Schema object', schema);
}

/** The validator that was given, a built-in one or one of this process. INVALID_ARGUMENT when it is none. */
export function compileValidator(validator: unknown): Validate {
  if (isStandardSchema(validator)) return fromStandardSchema(validator);
  if (typeof validator === 'function') return fromFunction(validator as ValidatorFunction<never>);
  if (isObject(validator)) {
    const { type, schema, validate } = validator;
    if (type === 'schema') return fromJsonSchema(schema as JsonSchema);
    if (type === 'eventbridge') return fromPattern(schema);
    if (typeof validate === 'function') return fromFunction((...event) => validate.apply(validator, event));
  }
  throw invalidOption(
    'validator',
    "'default', schema, eventbridge, a module, a function, { validate } or a Standard Schema",
    isObject(validator) ? (validator['type'] ?? validator) : validator,
  );
}
