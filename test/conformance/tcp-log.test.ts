import { backends } from '../support/backends.js';
import { conformance } from './suite.js';

conformance(backends.tcpLog);
