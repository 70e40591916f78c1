// Implementation of fabric_test_pair.h; named as a test because only tests are built from it.
#include <cstdlib>
#include <numeric>

#include "fabric/fabric_test_pair.h"

// The native tcp provider of libfabric 1.17 leaks a description of every endpoint and connection (0.6 KiB each).
extern "C" __attribute__((visibility("default"))) const char* __lsan_default_suppressions() {
  return "leak:libfabric.so";
}

namespace diaspora::fabric {

bool run_until(const std::function<void()>& step, const std::function<bool()>& done) {
  const auto end = std::chrono::steady_clock::now() + kWatchdog;
  while (!done()) {
    step();
    if (std::chrono::steady_clock::now() > end) return false;
  }
  return true;
}

void fill_pattern(std::vector<uint8_t>* bytes, uint64_t seed) {
  uint64_t state = seed * 0x9E3779B97F4A7C15u + 1;
  for (uint8_t& byte : *bytes) {
    state = state * 6364136223846793005u + 1442695040888963407u;
    byte = static_cast<uint8_t>(state >> 56);
  }
}

FabricOptions options_for(const std::string& provider, Place place) {
  FabricOptions options;
  options.provider = provider;
  const char* const addresses = std::getenv("DIASPORA_TEST_VERBS");
  if (!provider.starts_with("verbs") || addresses == nullptr) return options;
  const std::string both = addresses;
  const size_t comma = both.find(',');
  options.bind_address = place == Place::kA ? both.substr(0, comma) : both.substr(comma + 1);
  return options;
}

std::vector<std::string> with_verbs(std::vector<std::string> names) {
  if (std::getenv("DIASPORA_TEST_VERBS") != nullptr) names.emplace_back("verbs");
  return names;
}

Result<ProviderInfo> find_provider(const std::string& name, Place place) {
  Result<std::vector<ProviderInfo>> found = discover_providers(options_for(name, place));
  if (!found) return found.status();
  if (found.value().empty()) return {ErrorCode::k_PROVIDER_UNAVAILABLE, "nothing found for " + name};
  return found.value().front();
}

Result<Side> open_side(const ProviderInfo& provider, Place place) {
  Side side;
  Result<std::unique_ptr<Domain>> domain = open_domain(provider, options_for(provider.name, place));
  if (!domain) return domain.status();
  side.domain = domain.take();
  Result<std::unique_ptr<Endpoint>> endpoint = side.domain->create_endpoint();
  if (!endpoint) return endpoint.status();
  side.endpoint = endpoint.take();
  return side;
}

Pair::Pair(const std::string& provider) {
  for (const Place place : {Place::kA, Place::kB}) {
    const Result<ProviderInfo> info = find_provider(provider, place);
    EXPECT_TRUE(info.ok()) << (info.ok() ? "" : info.error().message);
    if (!info) return;
    Result<Side> opened = open_side(info.value(), place);
    EXPECT_TRUE(opened.ok()) << (opened.ok() ? "" : opened.error().message);
    if (!opened) return;
    (place == Place::kA ? a : b) = opened.take();
  }
  EXPECT_TRUE(a.endpoint->connect(b.endpoint->address().value()).ok());
  EXPECT_TRUE(b.endpoint->connect(a.endpoint->address().value()).ok());
  ok_ = true;
}

PostResult Pair::post(const std::function<PostResult()>& post_once) {
  PostResult posted = PostResult::kBusy;
  const bool finished = run_until(
      [&] {
        posted = post_once();
        if (posted == PostResult::kBusy) progress();
      },
      [&] { return posted != PostResult::kBusy; });
  EXPECT_TRUE(finished) << "busy for ever";
  return posted;
}

std::unique_ptr<MemoryRegion> Pair::local_region(Domain* domain, std::vector<uint8_t>* bytes, Access access) {
  if (!domain->needs_local_registration()) return nullptr;
  return domain->register_memory(bytes->data(), bytes->size(), access).take();
}

void exchange_message(Pair* pair, Side* from, Side* to, size_t bytes) {
  std::vector<uint8_t> sent(bytes);
  std::vector<uint8_t> received(bytes + 1, 0);
  fill_pattern(&sent, bytes);
  const auto sent_region = pair->local_region(from->domain.get(), &sent, Access::kMessages);
  const auto received_region = pair->local_region(to->domain.get(), &received, Access::kMessages);
  TestOperation receive;
  TestOperation send;
  ASSERT_EQ(to->endpoint->post_receive(&receive, received.data(), received.size(), received_region.get()),
            PostResult::kPosted);
  ASSERT_EQ(pair->post([&] { return from->endpoint->post_send(&send, sent.data(), bytes, sent_region.get()); }),
            PostResult::kPosted);
  ASSERT_EQ(send.completions, 0) << "completed inside the post";
  ASSERT_TRUE(pair->wait([&] { return send.completions > 0 && receive.completions > 0; }));
  EXPECT_EQ(send.result.code, ErrorCode::kOk) << send.result.detail;
  ASSERT_EQ(receive.result.code, ErrorCode::kOk) << receive.result.detail;
  ASSERT_EQ(receive.result.bytes, bytes);
  received.resize(bytes);
  EXPECT_EQ(sent, received);
}

}  // namespace diaspora::fabric
