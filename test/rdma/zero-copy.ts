import { zeroCopy } from '../conformance/zero-copy.js';
import { backends } from '../support/backends.js';

zeroCopy(backends.verbsLog);
