import { backends } from '../support/backends.js';
import { referenceConformance } from './reference.js';
import { conformance } from './suite.js';

conformance(backends.embeddedMemory);
referenceConformance(backends.embeddedMemory);
