/** The counters of a driver or server, as the native core keeps them. */
import type { NativeCounters, NativeServerCounters } from './native.js';

/** Counters of a driver; monotonic, but for `registrations` and `providers`. */
export type DriverCounters = Readonly<NativeCounters>;

/** Counters of a server; monotonic, but for `registrations` and `sessions`. */
export type ServerCounters = Readonly<NativeServerCounters>;
