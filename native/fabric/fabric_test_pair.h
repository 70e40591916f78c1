// What the tests of every provider share: an Operation that remembers its result, and two connected endpoints on two
// domains of one process, driven by the calling thread.
#pragma once

#include <gtest/gtest.h>

#include <chrono>
#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "fabric/fabric.h"

namespace diaspora::fabric {

// Counts its completions, so that a test can tell none, one and two apart.
class TestOperation final : public Operation {
 public:
  void on_complete(const OperationResult& completed) override {
    ++completions;
    result = completed;
    if (then) then();
  }

  int completions = 0;
  OperationResult result;
  std::function<void()> then;
};

// A watchdog against hangs, far above what anything needs.
inline constexpr std::chrono::seconds kWatchdog{30};

// Calls `step` until `done` or the watchdog. False = it hung.
bool run_until(const std::function<void()>& step, const std::function<bool()>& done);

// Bytes that differ from place to place and from seed to seed.
void fill_pattern(std::vector<uint8_t>* bytes, uint64_t seed);

// One side.
struct Side {
  std::unique_ptr<Domain> domain;
  std::unique_ptr<Endpoint> endpoint;
};

// Two sides, connected both ways. Skips nothing: an open that fails is a failed test.
class Pair {
 public:
  explicit Pair(const std::string& provider);

  bool ok() const { return ok_; }
  void progress() {
    a.domain->progress();
    b.domain->progress();
  }
  bool wait(const std::function<bool()>& done) {
    return run_until([this] { progress(); }, done);
  }
  bool wait_for(const TestOperation& operation) {
    return wait([&operation] { return operation.completions > 0; });
  }
  // Repeats `post` while it is kBusy.
  PostResult post(const std::function<PostResult()>& post_once);
  // The region that a post needs where the provider asks for local registration, else null.
  std::unique_ptr<MemoryRegion> local_region(Domain* domain, std::vector<uint8_t>* bytes,
                                             Access access = Access::kLocal);

  Side a;
  Side b;

 private:
  bool ok_ = false;
};

// Where the two sides are: on loopback. verbs: on the two addresses of DIASPORA_TEST_VERBS, "10.77.0.1,10.77.0.2".
enum class Place { kA, kB };
FabricOptions options_for(const std::string& provider, Place place);

// `names`, and "verbs" where DIASPORA_TEST_VERBS says that there is a device.
std::vector<std::string> with_verbs(std::vector<std::string> names);

// The provider of that option name, or a failed test.
Result<ProviderInfo> find_provider(const std::string& name, Place place = Place::kA);
Result<Side> open_side(const ProviderInfo& provider, Place place = Place::kA);

// Receives one message on `to` from `from` and checks its bytes.
void exchange_message(Pair* pair, Side* from, Side* to, size_t bytes);

}  // namespace diaspora::fabric
