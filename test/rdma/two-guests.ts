import { zeroCopy } from '../conformance/zero-copy.js';
import { peerBackend } from '../support/peer.js';

zeroCopy(peerBackend);
