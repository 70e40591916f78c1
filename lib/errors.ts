/**
 * DiasporaError: the one type of error that this package raises on purpose.
 *
 * The codes come from one table (native/base/error_codes.def) that also makes the C++ enumeration, so both sides agree.
 * Nothing decides by message text: programs look at `code` and `retryable`, people read `message`.
 */
import { type ErrorCode, errorCodes } from './error-codes.generated.js';

export type { ErrorCode } from './error-codes.generated.js';

/** What an error was about. Only what is known is set. */
export interface ErrorOperands {
  readonly topic?: string | undefined;
  readonly partition?: number | undefined;
  /** Id of the event that failed. */
  readonly eventId?: bigint | undefined;
  /** Name of the consumer. */
  readonly consumer?: string | undefined;
  readonly provider?: string | undefined;
  readonly path?: string | undefined;
  readonly address?: string | undefined;
  /** The error behind this one. */
  readonly cause?: unknown;
  /** Further errors of the same operation: for a flush, one for each partition and code besides the first. */
  readonly errors?: readonly DiasporaError[] | undefined;
}

const retryableCodes: ReadonlySet<string> = new Set(errorCodes.filter((row) => row.retryable).map((row) => row.code));
const knownCodes: ReadonlySet<string> = new Set(errorCodes.map((row) => row.code));

/** An error with a stable code; the table of codes is native/base/error_codes.def. */
export class DiasporaError extends Error {
  override readonly name: string = 'DiasporaError';
  /** Stable: never renamed or reused. */
  readonly code: ErrorCode;
  /** True when the same operation may succeed later without a change by the caller. */
  readonly retryable: boolean;
  declare readonly topic?: string;
  declare readonly partition?: number;
  declare readonly eventId?: bigint;
  declare readonly consumer?: string;
  declare readonly provider?: string;
  declare readonly path?: string;
  declare readonly address?: string;
  /** Further errors of the same operation; empty when there are none. */
  readonly errors: readonly DiasporaError[];

  constructor(code: ErrorCode, message: string, operands: ErrorOperands = {}) {
    super(message, operands.cause === undefined ? undefined : { cause: operands.cause });
    this.code = code;
    this.retryable = retryableCodes.has(code);
    this.errors = operands.errors ?? [];
    if (operands.topic !== undefined) this.topic = operands.topic;
    if (operands.partition !== undefined) this.partition = operands.partition;
    if (operands.eventId !== undefined) this.eventId = operands.eventId;
    if (operands.consumer !== undefined) this.consumer = operands.consumer;
    if (operands.provider !== undefined) this.provider = operands.provider;
    if (operands.path !== undefined) this.path = operands.path;
    if (operands.address !== undefined) this.address = operands.address;
  }
}

/**
 * Thrown by the function given to `Consumer.process` to end it; not a failure, so not a DiasporaError.
 */
export class StopProcessing extends Error {
  override readonly name: string = 'StopProcessing';
}

function isCode(code: unknown): code is ErrorCode {
  return typeof code === 'string' && knownCodes.has(code);
}

/**
 * A DiasporaError from whatever the addon threw or reported: { code, message }, or an Error with `code`. What has no
 * known code is a bug: INTERNAL, with the original as cause.
 *
 * @internal
 */
export function fromNative(thrown: unknown, operands: ErrorOperands = {}): DiasporaError {
  if (thrown instanceof DiasporaError) {
    // Raised by a leaf that does not know which topic it works for.
    if (thrown.topic === undefined && operands.topic !== undefined) Object.assign(thrown, { topic: operands.topic });
    return thrown;
  }
  const { code, message } = (thrown ?? {}) as { code?: unknown; message?: unknown };
  const text = typeof message === 'string' ? message : String(thrown);
  if (isCode(code)) return new DiasporaError(code, text, operands);
  return new DiasporaError('INTERNAL', text, { ...operands, cause: operands.cause ?? thrown });
}

/** Of one environment's own making: `value` is a DiasporaError, or becomes one of `code` that has it as its cause. */
export function wrapError(code: ErrorCode, what: string, value: unknown, operands: ErrorOperands = {}): DiasporaError {
  if (value instanceof DiasporaError) return value;
  const text = value instanceof Error ? value.message : String(value);
  return new DiasporaError(code, `${what}: ${text}`, { ...operands, cause: value });
}
