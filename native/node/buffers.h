// JS memory as the core sees it, and native memory as JS sees it.
//
// Segments: where the bytes of an ArrayBuffer, SharedArrayBuffer, typed array, DataView or Buffer are, and, when native
// threads will read or write them later, a hold on the memory itself. A reference to the JS object is not enough: a
// buffer that is transferred away takes its memory along, and the new owner may die first. The hold is V8's own
// std::shared_ptr<v8::BackingStore>, got by its exported symbol (Node-API has no call for it). Where that symbol does
// not exist the JS objects are referenced by lib, and only a transfer in flight is unprotected.
// Threads: everything here on the JS thread; a hold may be dropped on any thread.
#pragma once

#include <node_api.h>

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <vector>

#include "base/error.h"
#include "client/client.h"

namespace diaspora::node {

// Segments of one event. As the reference: rarely above a handful; the bound keeps one push short.
inline constexpr uint32_t kSegmentsMax = 64 * 1024;

// Whether holds are possible in this process.
bool can_hold_memory();
// A hold on an ArrayBuffer (not shared), null when they are impossible, and how many bytes the held memory has now.
std::shared_ptr<void> hold_array_buffer(napi_env env, napi_value buffer);
size_t held_bytes(const std::shared_ptr<void>& hold);
bool is_resizable_buffer(napi_env env, napi_value buffer);

// Appends what `value` (one Segment or an array of them) names to `out`. Segments of at least `hold_bytes` get a hold,
// or must_copy when their memory can shrink or be written by another thread. On error `out` is unspecified.
Status read_segments(napi_env env, napi_value value, size_t hold_bytes, std::vector<client::DataSegment>* out);

// Memory that native threads will write: each has a hold. Resizable memory is refused, it could be unmapped meanwhile.
struct WritableSegment {
  std::span<uint8_t> bytes;
  std::shared_ptr<void> hold;
};
Status read_writable(napi_env env, napi_value value, WritableSegment* out);

// An ArrayBuffer over `bytes`, which `owner` keeps alive; copied where external memory is not allowed (Electron).
napi_value make_external_buffer(napi_env env, std::shared_ptr<void> owner, std::span<const uint8_t> bytes);
// An ArrayBuffer with a copy of `bytes`.
napi_value make_copied_buffer(napi_env env, std::span<const uint8_t> bytes);

// Zeroed memory of its own mapping, on huge pages where the system has them; unmapped when collected.
napi_value allocate_buffer(napi_env env, size_t bytes);

}  // namespace diaspora::node
