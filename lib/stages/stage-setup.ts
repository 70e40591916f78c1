/**
 * StageSetup: what a worker needs to make the stages of a topic for itself, and whether it may.
 *
 * It is all text and plain values. Functions and objects of this process (also a Standard Schema) cannot travel; with one
 * of them all stages of the producer stay on the caller's thread.
 */

import { moduleReference } from './modules.js';
import { isPlainJson } from './plain-json.js';
import { selectsByState } from './selectors.js';
import type { ResolvedStages, StageConfig, StoredStages } from './stages.js';
import type { JsonSchema } from './types.js';
import { isStandardSchema } from './validators.js';

export interface StageSetup {
  /** Unique in this environment. */
  readonly id: number;
  readonly topic: string;
  readonly partitions: number;
  readonly stored: StoredStages;
  /** From which modules may be loaded. */
  readonly directories: readonly string[];
  /** The JSON Schema given to openTopic, as text. */
  readonly schema: string | undefined;
  /** Workers select. Else the caller's thread does when the event's turn has come: the selector keeps count. */
  readonly selects: boolean;
  /** A module might change the value in place. */
  readonly mayChange: boolean;
}

/** What a setup is made of. */
export interface SetupParts extends Pick<StageSetup, 'topic' | 'partitions' | 'directories'> {
  readonly resolved: ResolvedStages;
  readonly schema: object | undefined;
}

let setups = 0;

function isModule({ type }: StageConfig): boolean {
  return moduleReference(type) !== undefined;
}

/**
 * A module's validator that declares one parameter is not given data. Every other may look at it, and data is not copied
 * to workers: it may be large, and often is the reason why there is an event.
 */
function looksAtData(validator: unknown): boolean {
  if (isStandardSchema(validator)) return false;
  const validate = typeof validator === 'function' ? validator : (validator as { validate?: unknown }).validate;
  return typeof validate === 'function' && validate.length !== 1;
}

/** The setup of these stages; undefined when they must run on the caller's thread, or have nothing to do elsewhere. */
export function stageSetup({ resolved, schema, directories, topic, partitions }: SetupParts): StageSetup | undefined {
  const { validator, partitionSelector, serializer } = resolved;
  const all = [validator, partitionSelector, serializer];
  if (all.some(({ config, lack }) => config.type === 'local' || lack !== undefined)) return undefined;
  if (schema !== undefined && (isStandardSchema(schema) || !isPlainJson(schema))) return undefined;
  if (isModule(validator.config) && looksAtData(validator.given)) return undefined;
  const selects = partitionSelector.config.type !== 'default' && !selectsByState(partitionSelector.config);
  const validates = validator.config.type !== 'default' || schema !== undefined;
  const serializes = !['default', 'json', 'raw'].includes(serializer.config.type);
  if (!selects && !validates && !serializes) return undefined;
  setups += 1;
  return {
    id: setups,
    topic,
    partitions,
    stored: {
      validator: validator.config,
      partitionSelector: partitionSelector.config,
      serializer: serializer.config,
    },
    directories,
    schema: schema && JSON.stringify(schema satisfies object as JsonSchema),
    selects,
    mayChange: isModule(validator.config) || isModule(partitionSelector.config),
  };
}
