// libFuzzer harness for everything that parses bytes of a peer: messages, batch heads and control frames.
// Built by -DDIASPORA_FUZZ=ON with clang. What decodes must encode to the same bytes: one value has one encoding.
#include <cstdint>
#include <cstring>
#include <span>
#include <vector>

#include "base/crc32c.h"
#include "base/error.h"
#include "wire/control.h"
#include "wire/message.h"

namespace {

using namespace diaspora;        // NOLINT(google-build-using-namespace)
using namespace diaspora::wire;  // NOLINT(google-build-using-namespace)

void same_message(const std::vector<uint8_t>& encoded, std::span<const uint8_t> input, const MessageView& view) {
  const std::span<const uint8_t> fixed = input.first(kMessageHeaderBytes + view.fixed.size());
  DIASPORA_CHECK(std::vector<uint8_t>(fixed.begin(), fixed.end()) == encoded);
}

template <typename Message>
void round_trip(const Result<Message>& message, std::span<const uint8_t> input, const MessageView& view) {
  if (!message) return;
  std::vector<uint8_t> encoded;
  if constexpr (requires { encode(message.value(), uint32_t{0}, &encoded); }) {
    encode(message.value(), static_cast<uint32_t>(view.body.size()), &encoded);
  } else {
    encode(message.value(), &encoded);
  }
  same_message(encoded, input, view);
}

// A header that fits, so that the decoders are reached: a hostile peer can do the same.
std::vector<uint8_t> repaired(std::span<const uint8_t> input) {
  std::vector<uint8_t> bytes(input.begin(), input.end());
  const auto put = [&bytes](size_t at, auto value) { std::memcpy(bytes.data() + at, &value, sizeof(value)); };
  put(0, kMessageMagic);
  put(2, kMessageVersion);
  uint32_t fixed_bytes = 0;
  std::memcpy(&fixed_bytes, bytes.data() + 4, 4);
  const auto most = static_cast<uint32_t>(bytes.size() - kMessageHeaderBytes);
  fixed_bytes = static_cast<uint32_t>(kMessageHeaderBytes) + (fixed_bytes <= most ? fixed_bytes : most);
  put(4, fixed_bytes);
  put(12, static_cast<uint32_t>(bytes.size()) - fixed_bytes);
  const std::span<const uint8_t> all = std::span(bytes).first(fixed_bytes);
  put(8, crc32c(all.subspan(12), crc32c(all.first(8))));
  return bytes;
}

void fuzz_message(std::span<const uint8_t> input) {
  const Result<MessageView> view = parse_message(input);
  if (!view) return;
  round_trip(decode_batch(view.value()), input, view.value());
  round_trip(decode_credit(view.value()), input, view.value());
  round_trip(decode_delivery(view.value()), input, view.value());
  round_trip(decode_fetch(view.value()), input, view.value());
  // Unknown error codes become INTERNAL: these decode without having the same encoding.
  static_cast<void>(decode_batch_done(view.value()).ok());
  static_cast<void>(decode_fetch_done(view.value()).ok());
  static_cast<void>(decode_subscription_error(view.value()).ok());
  static_cast<void>(decode_windows_wanted(view.value()).ok());
  static_cast<void>(decode_partition_end(view.value()).ok());
  static_cast<void>(decode_partition_skip(view.value()).ok());
}

void fuzz_control(std::span<const uint8_t> payload) {
  static_cast<void>(parse_frame_header(payload).ok());
  static_cast<void>(decode_hello(payload).ok());
  static_cast<void>(decode_welcome(payload).ok());
  static_cast<void>(decode_error(payload).ok());
  static_cast<void>(decode_topic_record(payload).ok());
  static_cast<void>(decode_topic_uuid(payload).ok());
  static_cast<void>(decode_topic_name(payload).ok());
  static_cast<void>(decode_subscribe(payload).ok());
  static_cast<void>(decode_subscribe_reply(payload).ok());
  static_cast<void>(decode_unsubscribe(payload).ok());
  static_cast<void>(decode_acknowledge(payload).ok());
  static_cast<void>(decode_topic_list_reply(payload).ok());
  static_cast<void>(decode_topic_status_reply(payload).ok());
  static_cast<void>(decode_topic_cursors(payload).ok());
  static_cast<void>(decode_topic_cursors_reply(payload).ok());
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const std::span<const uint8_t> input(data, size);
  fuzz_message(input);
  if (size >= kMessageHeaderBytes) fuzz_message(repaired(input));
  fuzz_control(input);
  return 0;
}
