/**
 * Serializers, made ready to run: what is stored for a metadata value, as text or bytes, and the way back.
 *
 * Thread: the producer's or consumer's. MessagePack is loaded on first use.
 */
import { createRequire } from 'node:module';
import { DiasporaError, wrapError } from '../errors.js';
import { invalidOption } from '../options.js';
import { compileSchemaCodec } from './schema-codec.js';

const require = createRequire(import.meta.url);

/** With `binary`, `serialize` gives bytes that are valid until its next call, and `deserialize` takes bytes; else text. */
export interface ReadySerializer {
  readonly binary: boolean;
  readonly serialize: (metadata: unknown) => string | Uint8Array;
  readonly deserialize: (stored: never) => unknown;
}

function msgpack(): ReadySerializer {
  const { Encoder, Decoder } = require('@msgpack/msgpack') as typeof import('@msgpack/msgpack');
  // As in JSON what is undefined is left out; dates and bytes stay what they are.
  const encoder = new Encoder({ ignoreUndefined: true });
  const decoder = new Decoder();
  return {
    binary: true,
    serialize: (metadata) => {
      if (metadata === undefined) throw new DiasporaError('INVALID_METADATA', 'the metadata is undefined');
      const bytes = encoder.encodeSharedRef(metadata);
      // The decoder refuses it as a key: better now than when somebody reads it.
      if (Buffer.from(bytes.buffer, bytes.byteOffset, bytes.length).includes('__proto__')) decoder.decode(bytes);
      return bytes;
    },
    deserialize: (bytes: Uint8Array) => decoder.decode(bytes),
  };
}

/** The serializer of this process or of a module. */
export function givenSerializer(given: Record<string, unknown>): ReadySerializer {
  const { serialize, deserialize, binary } = given;
  if (typeof serialize !== 'function' || typeof deserialize !== 'function') {
    throw invalidOption(
      'serializer',
      "'default', json, raw, schema, msgpack, a module or { serialize, deserialize }",
      given['type'] ?? given,
    );
  }
  return {
    binary: binary === true,
    serialize: (metadata) => serialize.call(given, metadata) as string | Uint8Array,
    deserialize: (stored) => deserialize.call(given, stored) as unknown,
  };
}

/** The built-in serializer of that name; undefined for JSON text. INVALID_ARGUMENT when there is none. */
export function builtInSerializer(config: Record<string, unknown>): ReadySerializer | undefined {
  switch (config['type']) {
    case 'json':
    case 'raw':
      return undefined;
    case 'msgpack':
      return msgpack();
    case 'schema': {
      const codec = compileSchemaCodec(config['schema']);
      return {
        binary: true,
        serialize: (metadata) => codec.encode(metadata),
        deserialize: (bytes: Uint8Array) => codec.decode(bytes),
      };
    }
    default:
      return givenSerializer(config);
  }
}

/** What the serializer gives for `value`. INVALID_METADATA when it fails or gives something else. */
export function runSerializer(serializer: ReadySerializer, value: unknown): string | Uint8Array {
  let stored: unknown;
  try {
    stored = serializer.serialize(value);
  } catch (error) {
    if (error instanceof DiasporaError) throw error;
    throw wrapError('INVALID_METADATA', 'the serializer failed', error);
  }
  if (stored instanceof Promise) stored.catch(() => undefined);
  const wanted = serializer.binary ? stored instanceof Uint8Array : typeof stored === 'string';
  if (wanted) return stored as string | Uint8Array;
  const kind = serializer.binary ? 'bytes' : 'a string';
  throw new DiasporaError('INVALID_METADATA', `the serializer returned ${typeof stored}, not ${kind}`);
}
