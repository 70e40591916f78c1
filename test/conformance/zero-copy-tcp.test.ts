import { backends } from '../support/backends.js';
import { zeroCopy } from './zero-copy.js';

zeroCopy(backends.tcpLog);
