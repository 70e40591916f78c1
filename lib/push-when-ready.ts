/** Pushing for programs that hand on what others produce: it waits for room in place of refusing. Internal. */
import { DiasporaError } from './errors.js';
import type { Future } from './future.js';
import type { Producer } from './producer.js';
import type { EventId, PushOptions } from './producer-options.js';
import type { EventData } from './stages/types.js';

/** Not a future by itself: an async function that returned one would wait for it. */
export interface Pushed {
  readonly stored: Future<EventId>;
}

function isRefusedForRoom(stored: Future<EventId>): boolean {
  if (!stored.completed) return false;
  try {
    stored.wait(0);
    return false;
  } catch (error) {
    return error instanceof DiasporaError && error.code === 'QUEUE_FULL';
  }
}

/** Pushes when there is room, also where others fill the driver. Never rejects. */
export async function pushWhenReady(
  producer: Producer<unknown>,
  metadata: unknown,
  data?: EventData,
  options?: PushOptions,
): Promise<Pushed> {
  for (;;) {
    await producer.ready;
    const stored = producer.push(metadata, data, options);
    if (!isRefusedForRoom(stored)) return { stored };
  }
}
