// Not part of `npm test`: needs two RDMA devices. `npm run test:rdma` runs it where it finds or makes them.
import { referenceConformance } from '../conformance/reference.js';
import { conformance } from '../conformance/suite.js';
import { backends } from '../support/backends.js';

conformance(backends.verbsLog);
referenceConformance(backends.verbsLog);
