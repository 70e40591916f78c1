/** The counters of a driver or server, as the native core keeps them. */
import type { NativeCounters } from './native.js';

/** Counters of a driver or a server; monotonic, but for `registrations` and `providers`. */
export type DriverCounters = Readonly<NativeCounters>;
