#include "node/buffers.h"

#include <dlfcn.h>
#include <sys/mman.h>

#include <cerrno>
#include <cstring>
#include <string>
#include <utility>

#include "base/bytes.h"
#include "node/convert.h"

namespace diaspora::node {

namespace {

// V8's exported functions on backing stores. A napi_value is a v8::Local slot, so it can stand for `this`; returning a
// std::shared_ptr by value is the same calling convention whatever it points to.
struct BackingStoreCalls {
  std::shared_ptr<void> (*get_from_array_buffer)(napi_value) = nullptr;
  std::shared_ptr<void> (*get_from_shared)(napi_value) = nullptr;
  bool (*is_resizable)(const void*) = nullptr;
  size_t (*byte_length)(const void*) = nullptr;
  bool usable = false;
};

template <typename Function>
bool find_symbol(const char* name, Function* function) {
  *function = reinterpret_cast<Function>(dlsym(RTLD_DEFAULT, name));
  return *function != nullptr;
}

BackingStoreCalls find_backing_store_calls() {
  BackingStoreCalls calls;
  // Exists only where V8 was built with libstdc++, whose shared_ptr is ours too (libc++'s is laid out differently).
  void* marker = dlsym(RTLD_DEFAULT, "_ZN2v811ArrayBuffer3NewEPNS_7IsolateESt10shared_ptrINS_12BackingStoreEE");
  calls.usable = marker != nullptr &&
                 find_symbol("_ZN2v811ArrayBuffer15GetBackingStoreEv", &calls.get_from_array_buffer) &&
                 find_symbol("_ZN2v817SharedArrayBuffer15GetBackingStoreEv", &calls.get_from_shared) &&
                 find_symbol("_ZNK2v812BackingStore27IsResizableByUserJavaScriptEv", &calls.is_resizable) &&
                 find_symbol("_ZNK2v812BackingStore10ByteLengthEv", &calls.byte_length);
  return calls;
}

const BackingStoreCalls& backing_store_calls() {
  static const BackingStoreCalls calls = find_backing_store_calls();
  return calls;
}

Status invalid_data(const char* what) { return {ErrorCode::k_INVALID_DATA, what}; }

// One Segment, taken apart.
struct View {
  uint8_t* bytes = nullptr;
  size_t length = 0;
  napi_value object = nullptr;  // the segment itself
  napi_value buffer = nullptr;  // its ArrayBuffer or SharedArrayBuffer; null until find_buffer()
  bool is_shared = false;       // set by find_buffer()
};

bool is_shared_array_buffer(napi_env env, napi_value value) {
  napi_value global = nullptr;
  napi_value constructor = nullptr;
  bool is_shared = false;
  return napi_get_global(env, &global) == napi_ok &&
         napi_get_named_property(env, global, "SharedArrayBuffer", &constructor) == napi_ok &&
         napi_instanceof(env, value, constructor, &is_shared) == napi_ok && is_shared;
}

// A Uint8Array over a SharedArrayBuffer: Node-API 9 can look into one only through a view.
napi_value view_of_shared(napi_env env, napi_value shared) {
  napi_value global = nullptr;
  napi_value constructor = nullptr;
  napi_value view = nullptr;
  if (napi_get_global(env, &global) != napi_ok ||
      napi_get_named_property(env, global, "Uint8Array", &constructor) != napi_ok ||
      napi_new_instance(env, constructor, 1, &shared, &view) != napi_ok) {
    return nullptr;
  }
  return view;
}

// Views of detached or shrunk memory have length 0, as honest empty ones do: tell them apart by a getter and a method
// that throw for them (`byteLength` of DataView, `keys()` of typed arrays).
bool is_out_of_bounds(napi_env env, napi_value view) {
  napi_value length = nullptr;
  napi_value keys = nullptr;
  napi_valuetype type = napi_undefined;
  napi_status status = napi_get_named_property(env, view, "byteLength", &length);
  if (status == napi_ok) status = napi_get_named_property(env, view, "keys", &keys);
  if (status == napi_ok) status = napi_typeof(env, keys, &type);
  if (status == napi_ok && type == napi_function) status = napi_call_function(env, view, keys, 0, nullptr, nullptr);
  if (status == napi_ok) return false;
  static_cast<void>(take_exception(env));  // the TypeError that was hoped for
  return true;
}

Status read_array_buffer(napi_env env, napi_value value, View* out) {
  void* bytes = nullptr;
  if (napi_get_arraybuffer_info(env, value, &bytes, &out->length) != napi_ok) return invalid_data("not a buffer");
  bool is_detached = false;
  if (out->length == 0 && napi_is_detached_arraybuffer(env, value, &is_detached) == napi_ok && is_detached) {
    return invalid_data("the buffer is detached");
  }
  out->bytes = static_cast<uint8_t*>(bytes);
  out->object = value;
  out->buffer = value;
  return {};
}

Status read_view(napi_env env, napi_value value, View* out) {
  void* bytes = nullptr;
  // For any ArrayBufferView, whatever its name says: one call instead of asking for the kind first.
  if (napi_get_buffer_info(env, value, &bytes, &out->length) != napi_ok) return invalid_data("not a buffer");
  if (out->length == 0 && is_out_of_bounds(env, value)) {
    return invalid_data("the buffer of the view is detached, or has shrunk");
  }
  out->bytes = static_cast<uint8_t*>(bytes);
  out->object = value;
  return {};
}

Status read_segment(napi_env env, napi_value value, View* out) {
  bool is_kind = false;
  if (napi_is_buffer(env, value, &is_kind) == napi_ok && is_kind) return read_view(env, value, out);
  if (napi_is_arraybuffer(env, value, &is_kind) == napi_ok && is_kind) return read_array_buffer(env, value, out);
  if (!is_shared_array_buffer(env, value)) {
    return invalid_data("data is neither an ArrayBuffer, a SharedArrayBuffer nor a view of one");
  }
  napi_value view = view_of_shared(env, value);
  return view == nullptr ? invalid_data("the SharedArrayBuffer cannot be read") : read_view(env, view, out);
}

bool find_buffer(napi_env env, View* view) {
  if (view->buffer == nullptr) {
    bool is_typed = false;
    if (napi_is_typedarray(env, view->object, &is_typed) != napi_ok) return false;
    const napi_status status =
        is_typed ? napi_get_typedarray_info(env, view->object, nullptr, nullptr, nullptr, &view->buffer, nullptr)
                 : napi_get_dataview_info(env, view->object, nullptr, nullptr, &view->buffer, nullptr);
    if (status != napi_ok) return false;
  }
  bool is_plain = false;
  if (napi_is_arraybuffer(env, view->buffer, &is_plain) != napi_ok) return false;
  view->is_shared = !is_plain;
  return true;
}

// Without V8's symbols: by the property. Only memory that can shrink counts; a growable shared buffer never does.
bool has_resizable_property(napi_env env, napi_value buffer) {
  napi_value property = nullptr;
  bool is_resizable = false;
  return napi_get_named_property(env, buffer, "resizable", &property) == napi_ok &&
         napi_get_value_bool(env, property, &is_resizable) == napi_ok && is_resizable;
}

// A hold on the memory behind `view`, after find_buffer(). `can_shrink`: a hold does not help.
std::shared_ptr<void> hold_memory(napi_env env, const View& view, bool* can_shrink) {
  const BackingStoreCalls& calls = backing_store_calls();
  if (!calls.usable) {
    *can_shrink = !view.is_shared && has_resizable_property(env, view.buffer);
    return nullptr;
  }
  std::shared_ptr<void> store =
      view.is_shared ? calls.get_from_shared(view.buffer) : calls.get_from_array_buffer(view.buffer);
  *can_shrink = !view.is_shared && calls.is_resizable(store.get());
  return store;
}

Status append_segment(napi_env env, napi_value value, size_t hold_bytes, std::vector<client::DataSegment>* out) {
  View view;
  Status read = read_segment(env, value, &view);
  if (!read.ok()) return read;
  client::DataSegment& segment = out->emplace_back();
  segment.bytes = view.bytes;
  segment.length = view.length;
  if (view.length < hold_bytes) return {};
  if (!find_buffer(env, &view)) return invalid_data("the buffer of the view cannot be read");
  if (view.is_shared) {
    segment.must_copy = true;
    return {};
  }
  segment.hold = hold_memory(env, view, &segment.must_copy);
  return {};
}

void release_owner(napi_env /*env*/, void* /*data*/, void* hint) { delete static_cast<std::shared_ptr<void>*>(hint); }

constexpr size_t kPageBytes = 4096;
constexpr size_t kHugePageBytes = size_t{2} << 20;

// A private mapping, aligned to a huge page when it has room for one.
struct Mapping {
  uint8_t* base = nullptr;
  size_t bytes = 0;

  explicit Mapping(size_t wanted) {
    const size_t alignment = wanted >= kHugePageBytes ? kHugePageBytes : kPageBytes;
    const size_t rounded = align_up(wanted, alignment);
    const size_t mapped = rounded + alignment - kPageBytes;
    void* raw = mmap(nullptr, mapped, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (raw == MAP_FAILED) return;
    const auto start = reinterpret_cast<uintptr_t>(raw);
    const uintptr_t aligned = align_up(start, alignment);
    if (aligned > start) munmap(raw, aligned - start);
    const uintptr_t end = aligned + rounded;
    if (start + mapped > end) munmap(reinterpret_cast<void*>(end), start + mapped - end);
    base = reinterpret_cast<uint8_t*>(aligned);
    bytes = rounded;
    // Advice only: without transparent huge pages the memory works with small ones.
    if (alignment == kHugePageBytes) static_cast<void>(madvise(base, bytes, MADV_HUGEPAGE));
  }
  ~Mapping() {
    if (base != nullptr) munmap(base, bytes);
  }
  Mapping(const Mapping&) = delete;
  Mapping& operator=(const Mapping&) = delete;
};

}  // namespace

bool can_hold_memory() { return backing_store_calls().usable; }

std::shared_ptr<void> hold_array_buffer(napi_env /*env*/, napi_value buffer) {
  const BackingStoreCalls& calls = backing_store_calls();
  return calls.usable ? calls.get_from_array_buffer(buffer) : nullptr;
}

size_t held_bytes(const std::shared_ptr<void>& hold) {
  const BackingStoreCalls& calls = backing_store_calls();
  DIASPORA_CHECK(calls.byte_length != nullptr);  // else there would be no hold
  return calls.byte_length(hold.get());
}

bool is_resizable_buffer(napi_env env, napi_value buffer) {
  const std::shared_ptr<void> store = hold_array_buffer(env, buffer);
  return store ? backing_store_calls().is_resizable(store.get()) : has_resizable_property(env, buffer);
}

Status read_segments(napi_env env, napi_value value, size_t hold_bytes, std::vector<client::DataSegment>* out) {
  bool is_array = false;
  if (napi_is_array(env, value, &is_array) != napi_ok || !is_array) {
    return append_segment(env, value, hold_bytes, out);
  }
  uint32_t length = 0;
  if (napi_get_array_length(env, value, &length) != napi_ok) return invalid_data("not a list of buffers");
  if (length > kSegmentsMax) return invalid_data("more than 65536 segments");
  for (uint32_t i = 0; i < length; ++i) {
    napi_value element = nullptr;
    if (napi_get_element(env, value, i, &element) != napi_ok) return invalid_data("not a list of buffers");
    Status appended = append_segment(env, element, hold_bytes, out);
    if (!appended.ok()) return appended;
  }
  return {};
}

Status read_writable(napi_env env, napi_value value, WritableSegment* out) {
  View view;
  Status read = read_segment(env, value, &view);
  if (!read.ok()) return read;
  out->bytes = {view.bytes, view.length};
  if (view.length == 0) return {};
  if (!find_buffer(env, &view)) return invalid_data("the buffer of the view cannot be read");
  bool can_shrink = false;
  out->hold = hold_memory(env, view, &can_shrink);
  return can_shrink ? invalid_data("a resizable ArrayBuffer cannot be a destination") : Status();
}

napi_value make_copied_buffer(napi_env env, std::span<const uint8_t> bytes) {
  void* memory = nullptr;
  napi_value buffer = nullptr;
  if (napi_create_arraybuffer(env, bytes.size(), &memory, &buffer) != napi_ok) return nullptr;
  if (!bytes.empty()) std::memcpy(memory, bytes.data(), bytes.size());
  return buffer;
}

napi_value make_external_buffer(napi_env env, std::shared_ptr<void> owner, std::span<const uint8_t> bytes) {
  if (bytes.empty()) return make_copied_buffer(env, bytes);
  napi_value buffer = nullptr;
  auto* held = new std::shared_ptr<void>(std::move(owner));
  // JS may write to what it got: the memory is its own from now on.
  auto* memory = const_cast<uint8_t*>(bytes.data());
  const napi_status status = napi_create_external_arraybuffer(env, memory, bytes.size(), release_owner, held, &buffer);
  if (status == napi_no_external_buffers_allowed) {
    delete held;
    return make_copied_buffer(env, bytes);
  }
  // After any other failure the finalizer may have been called already or not at all: leaking is the safe one.
  return status == napi_ok ? buffer : nullptr;
}

napi_value allocate_buffer(napi_env env, size_t bytes) {
  if (bytes == 0) return make_copied_buffer(env, {});
  auto mapping = std::make_shared<Mapping>(bytes);
  if (mapping->base == nullptr) {
    return throw_error(env, ErrorCode::k_RESOURCE_EXHAUSTED, "cannot map memory: " + errno_text(errno));
  }
  const std::span<const uint8_t> memory(mapping->base, bytes);
  return make_external_buffer(env, std::move(mapping), memory);
}

}  // namespace diaspora::node
