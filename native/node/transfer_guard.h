// Keeps ArrayBuffer.prototype.transfer(newLength) from moving memory that native threads use.
//
// Why: the V8 of Node 22 (not 20, which has no transfer, nor 24) reallocates in place: transfer() to another length
// gives the memory back to the allocator although the backing store is held (measured; it crashes a transfer in
// flight). So in an environment of such a V8, and not before it first exposes JS memory, `transfer` and
// `transferToFixedLength` are replaced by functions of the same meaning that copy when the length changes, as Node 24
// does. JS thread only.
#pragma once

#include <node_api.h>

namespace diaspora::node {

// Looks whether this V8 reallocates in place, and if so replaces the two functions in this environment.
void guard_transfers(napi_env env);

}  // namespace diaspora::node
