/** The public surface of diaspora-stream. */
export { BatchSize } from './batch-size.js';
export type { Compression } from './compression.js';
export { Consumer, type IterationOptions, type ProcessOptions } from './consumer.js';
export {
  type AllocatingConsumerOptions,
  type ConsumerOptions,
  type ConsumerStart,
  type DataSelector,
  fullData,
} from './consumer-options.js';
export type { DriverCounters, ServerCounters } from './counters.js';
export { DataDescriptor, type DataRange } from './data-descriptor.js';
export {
  type CommonDriverOptions,
  Driver,
  type DriverInfo,
  type DriverOptions,
  type EmbeddedDriverOptions,
  type FabricDriverOptions,
  type OpenTopicOptions,
  type TopicOptions,
} from './driver.js';
export type { ServerStatus } from './drivers/connection.js';
export { type ErrorCodeEntry, errorCodes } from './error-codes.generated.js';
export { DiasporaError, type ErrorCode, type ErrorOperands, StopProcessing } from './errors.js';
export { Event, EventBatch } from './event.js';
export type { DataAllocator, DataSelectorFunction } from './event-supply.js';
export { type FabricInfo, fabricInfo, type ProviderInfo } from './fabric-info.js';
export { type ForwardOptions, forward } from './forward.js';
export { Future } from './future.js';
export type { Segment } from './native.js';
export { Ordering } from './ordering.js';
export { type Pending, Producer } from './producer.js';
export type { EventId, ProducerOptions, PushOptions } from './producer-options.js';
export { type LogLine, Server, type ServerOptions } from './server.js';
export type { JsonSchemaType, TypedJsonSchema } from './stages/schema-type.js';
export type { StageConfig } from './stages/stages.js';
export type {
  BinarySerializer,
  EventData,
  HashSelector,
  JsonSchema,
  MetadataPath,
  ModuleStage,
  PartitionSelector,
  PartitionSelectorFunction,
  RangeSelector,
  SelectionInfo,
  Serializer,
  StageOptions,
  StickySelector,
  TextSerializer,
  Validator,
  ValidatorFunction,
} from './stages/types.js';
export { ThreadPool, type ThreadPoolOptions } from './thread-pool.js';
export {
  type ConsumerDescription,
  type ConsumerPosition,
  type Durability,
  type PartitionDescription,
  type PartitionManager,
  type Retention,
  type TopicDescription,
  TopicHandle,
  type TopicState,
} from './topic-handle.js';
