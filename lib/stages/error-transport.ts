/**
 * Errors on their way between threads: taken apart where they were made, and made again where they are told. Structured
 * clone alone would lose the class, the code and the operands. Pure.
 */
import { DiasporaError, type ErrorCode, fromNative } from '../errors.js';

/** An error as it travels; everything in it can be cloned. */
interface SentError {
  readonly kind: 'diaspora' | 'error' | 'value';
  /** Of a DiasporaError its code; of another error its own `code`, if that is text. */
  readonly code?: string | undefined;
  readonly name?: string;
  readonly message?: string;
  readonly stack?: string | undefined;
  readonly operands?: Readonly<Record<string, unknown>>;
  readonly cause?: SentError | undefined;
  readonly errors?: readonly SentError[];
  /** What was thrown, where that is no Error. */
  readonly value?: unknown;
}

/** A DiasporaError that travels. */
export type SentDiasporaError = SentError & { readonly kind: 'diaspora' };

/** Causes of causes that are kept; a circle of them ends here. */
const causesMax = 8;
const operandNames = ['topic', 'partition', 'eventId', 'consumer', 'provider', 'path', 'address'] as const;
const nativeErrors: Readonly<Record<string, ErrorConstructor>> = {
  EvalError,
  RangeError,
  ReferenceError,
  SyntaxError,
  TypeError,
  URIError,
};

/** Takes apart what was thrown. What has no code is INTERNAL, as on the caller's thread. */
export function sendError(thrown: unknown): SentDiasporaError {
  return takeApart(fromNative(thrown), causesMax) as SentDiasporaError;
}

function takeApart(error: unknown, depth: number): SentError {
  if (!(error instanceof Error)) return { kind: 'value', value: cloneable(error) };
  const { name, message, stack } = error;
  const text = { name: String(name), message: String(message), stack: stack === undefined ? stack : String(stack) };
  const cause = error.cause === undefined || depth === 0 ? undefined : takeApart(error.cause, depth - 1);
  if (!(error instanceof DiasporaError)) {
    const { code } = error as { code?: unknown };
    return { kind: 'error', ...text, code: typeof code === 'string' ? code : undefined, cause };
  }
  const operands = Object.fromEntries(operandNames.map((operand) => [operand, error[operand]]));
  const errors = depth === 0 ? [] : error.errors.map((each) => takeApart(each, depth - 1));
  return { kind: 'diaspora', ...text, code: error.code, operands, cause, errors };
}

function cloneable(value: unknown): unknown {
  try {
    return structuredClone(value);
  } catch {
    return String(value);
  }
}

/** The error that sendError took apart. */
export function receiveError(sent: SentDiasporaError): DiasporaError {
  return putTogether(sent) as DiasporaError;
}

function putTogether(sent: SentError): unknown {
  const { kind, message = '', name = 'Error', code, stack } = sent;
  if (kind === 'value') return sent.value;
  const cause = sent.cause && putTogether(sent.cause);
  let error: Error;
  if (kind === 'diaspora') {
    const errors = (sent.errors ?? []).map((each) => putTogether(each) as DiasporaError);
    error = new DiasporaError(code as ErrorCode, message, { ...sent.operands, cause, errors });
  } else {
    error = new (nativeErrors[name] ?? Error)(message, cause === undefined ? undefined : { cause });
    if (error.name !== name) Object.defineProperty(error, 'name', { value: name, configurable: true, writable: true });
    if (code !== undefined) Object.assign(error, { code });
  }
  // Where it was made is what a reader looks for, not where it was made again.
  if (stack !== undefined) error.stack = stack;
  return error;
}
