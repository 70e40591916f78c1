/**
 * How the stages of a topic are given: the types of validators, partition selectors and serializers.
 *
 * Each is the name and configuration of a built-in stage, the same of a module (`'name:./file.mjs'`), or a function or
 * object of this process.
 */
import type { StandardSchemaV1 } from '@standard-schema/spec';
import type { Segment } from '../native.js';

/** Data of one event: one segment of memory, or several that are stored one after the other. */
export type EventData = Segment | readonly Segment[];

/** A JSON Schema, draft 2020-12 or draft-07, as an object. */
export type JsonSchema = Readonly<Record<string, unknown>>;

/** A place in the metadata: `'detector.id'`, or its steps one by one where a name has a dot. */
export type MetadataPath = string | readonly string[];

/**
 * A stage in a module: `'name:./file.mjs'` calls the export `name` of the file with this object, and takes what it gives
 * as the stage. The file lies in a directory that `Driver.open` was given as `modules`. Stored with the topic.
 */
export interface ModuleStage {
  readonly type: `${string}:${string}`;
  readonly [option: string]: unknown;
}

/** A validator of this process: throws, or returns false, to refuse the event. */
export type ValidatorFunction<T> = (metadata: T, data: EventData | undefined) => unknown;

/**
 * Refuses events. Stored with the topic: `'default'` accepts all; `schema` takes a JSON Schema; `eventbridge` a pattern
 * of Amazon EventBridge; modules. Functions, `{ validate }` objects and Standard Schemas (zod, valibot, arktype, ...)
 * hold in this process only.
 */
export type Validator<T = unknown> =
  | 'default'
  | { readonly type: 'default' }
  | { readonly type: 'schema'; readonly schema: JsonSchema }
  | { readonly type: 'eventbridge'; readonly schema: Readonly<Record<string, unknown>> }
  | ModuleStage
  | ValidatorFunction<T>
  | { readonly validate: ValidatorFunction<T> }
  | StandardSchemaV1;

/** What a partition selector may go by. */
export interface SelectionInfo {
  /** Partitions of the topic. */
  readonly partitions: number;
  /** The partition given to push, if any. */
  readonly requested: number | undefined;
}

export type PartitionSelectorFunction<T> = (metadata: T, info: SelectionInfo) => number;

/**
 * Equal values (text, numbers, true, false, null) at `path` go to one partition: FNV-1a (32 bits, mixed) of the value's
 * JSON text, modulo partitions.
 */
export interface HashSelector {
  readonly type: 'hash';
  readonly path: MetadataPath;
}

/**
 * The number at `path` decides: the partition is how many of the ascending `bounds` it reaches (so a topic has one
 * partition more than bounds), or, with `minimum` and `maximum`, which of as many equal bins as there are partitions it
 * falls into; numbers outside go to the first and the last.
 */
export type RangeSelector =
  | { readonly type: 'range'; readonly path: MetadataPath; readonly bounds: readonly number[] }
  | { readonly type: 'range'; readonly path: MetadataPath; readonly minimum: number; readonly maximum: number };

/** One partition for `events` events in a row (default 1000), then the next: larger batches than round robin makes. */
export interface StickySelector {
  readonly type: 'sticky';
  readonly events?: number;
}

/**
 * Chooses each event's partition. Stored with the topic: `'default'`, the index given to push modulo the number of
 * partitions, else round robin; `hash`, `range` and `sticky`; modules. A partition that push requests counts with
 * `default` and `sticky` only. Functions hold in this process.
 */
export type PartitionSelector<T = unknown> =
  | 'default'
  | { readonly type: 'default' }
  | HashSelector
  | RangeSelector
  | StickySelector
  | ModuleStage
  | PartitionSelectorFunction<T>
  | { readonly select: PartitionSelectorFunction<T> };

/** Text and back. */
export interface TextSerializer<T> {
  readonly binary?: false;
  readonly serialize: (metadata: T) => string;
  readonly deserialize: (text: string) => T;
}

/** Bytes and back. What `serialize` returns is copied before it is called again; `deserialize` must not keep `bytes`. */
export interface BinarySerializer<T> {
  readonly binary: true;
  readonly serialize: (metadata: T) => Uint8Array;
  readonly deserialize: (bytes: Uint8Array) => T;
}

/**
 * Turns metadata into what is stored and back. Stored with the topic: `'default'` (or `json`), JSON text; `raw`, the same
 * but text that is pushed is not looked at (unless a validator or selector needs its value); `schema`, a compact binary form that a JSON Schema describes;
 * `msgpack`; modules. Objects hold in this process.
 */
export type Serializer<T = unknown> =
  | 'default'
  | 'json'
  | 'raw'
  | 'msgpack'
  | { readonly type: 'default' | 'json' | 'raw' | 'msgpack' }
  | { readonly type: 'schema'; readonly schema: JsonSchema }
  | ModuleStage
  | TextSerializer<T>
  | BinarySerializer<T>;

/** The stages of a topic; each defaults to its built-in `default`. */
export interface StageOptions<T = unknown> {
  readonly validator?: Validator<T>;
  readonly partitionSelector?: PartitionSelector<T>;
  readonly serializer?: Serializer<T>;
}
