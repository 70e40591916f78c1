// Appends batches of one size to a log in a real directory and prints one JSON line: throughput, latency from append to
// durable, CPU, and the ceilings of the same disk in the same run: one thread, O_DIRECT, write and fdatasync into
// reserved space that was never written (as a log's is); `disk` of the same size, `raw` of 64 MiB at least, as a group
// commit may.
//
//   log_bench --dir DIR [--bytes N] [--durability memory|os|sync] [--seconds S] [--in-flight N]
#include <sys/resource.h>

#include <algorithm>
#include <condition_variable>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <map>
#include <mutex>
#include <string>
#include <vector>

#include "base/bytes.h"
#include "base/clock.h"
#include "base/crc32c.h"
#include "log/partition_log.h"

namespace diaspora::log {
namespace {

struct Arguments {
  std::string directory = ".";
  size_t bytes = size_t{1} << 20;
  SyncPolicy policy = SyncPolicy::kSync;
  std::string policy_name = "sync";
  double seconds = 3;
  size_t in_flight = 0;  // batches; 0: 64 MiB worth of them, 64 at most
};

struct Figures {
  uint64_t batches = 0;
  double seconds = 0;
  double cpu_seconds = 0;
  std::vector<int64_t> latencies_ns;

  double mb_per_s(size_t bytes) const { return static_cast<double>(batches * bytes) / seconds / 1e6; }
  double percentile_us(double p) {
    if (latencies_ns.empty()) return 0;
    std::sort(latencies_ns.begin(), latencies_ns.end());
    return static_cast<double>(latencies_ns[static_cast<size_t>(p * static_cast<double>(latencies_ns.size() - 1))]) /
           1e3;
  }
};

double cpu_seconds() {
  rusage usage{};
  DIASPORA_CHECK(getrusage(RUSAGE_SELF, &usage) == 0);
  const auto seconds = [](const timeval& t) {
    return static_cast<double>(t.tv_sec) + static_cast<double>(t.tv_usec) / 1e6;
  };
  return seconds(usage.ru_utime) + seconds(usage.ru_stime);
}

template <typename T>
T need(Result<T> result) {
  if (!result) {
    std::fprintf(stderr, "log_bench: %s\n", result.error().message.c_str());
    std::exit(1);
  }
  return result.take();
}

void need(const Status& status) {
  if (status) return;
  std::fprintf(stderr, "log_bench: %s\n", status.error().message.c_str());
  std::exit(1);
}

// One event that fills the batch: the table entry and its data.
wire::BodyShape shape_of(size_t batch_bytes) {
  wire::BodyShape shape;
  shape.event_count = 1;
  const size_t overhead = wire::kLogRecordHeaderBytes + align_up(wire::kEventEntryBytes, wire::kDataAlignment);
  shape.data_bytes = batch_bytes > overhead ? batch_bytes - overhead : 1;
  return shape;
}

BufferRef make_buffer(BufferPool& pool, const wire::BodyShape& shape, uint32_t* head_crc) {
  BufferRef buffer = need(pool.allocate(wire::kLogRecordHeaderBytes + shape.body_bytes()));
  uint8_t* const body = buffer->data() + wire::kLogRecordHeaderBytes;
  std::memset(body, 7, shape.body_bytes());
  const std::span<const uint8_t> data(body + shape.data_offset(), shape.data_bytes);
  wire::encode_event_entry({0, crc32c(data), shape.data_bytes}, body);
  *head_crc = crc32c({body, shape.head_bytes()});
  return buffer;
}

// Keeps `in_flight` batches on their way, each in a buffer of its own, for the given time.
class Appender {
 public:
  Appender(PartitionLog* log, const Arguments& arguments) : log_(log), arguments_(arguments) {
    const wire::BodyShape shape = shape_of(arguments.bytes);
    const auto pool = BufferPool::create(arguments.in_flight * padded_record_bytes(shape.body_bytes()) + (1 << 20));
    for (size_t i = 0; i < arguments.in_flight; ++i) {
      LogBatch batch;
      batch.shape = shape;
      batch.buffer = make_buffer(*pool, shape, &batch.head_crc);
      batch.epoch = 1;
      free_.push_back(std::move(batch));
    }
    log_->start([this](const LogReport& report) { on_report(report); }, [](EventId) {});
  }

  Figures run() {
    Figures figures;
    const double cpu = cpu_seconds();
    const int64_t start = monotonic_ns();
    const int64_t end = start + static_cast<int64_t>(arguments_.seconds * 1e9);
    while (monotonic_ns() < end) {
      LogBatch batch;
      {
        std::unique_lock<std::mutex> lock(mutex_);
        changed_.wait(lock, [this] { return !free_.empty(); });
        batch = std::move(free_.back());
        free_.pop_back();
        batch.base_id = EventId(sent_.empty() ? next_ : sent_.rbegin()->first + 1);
        batch.timestamp_ns = monotonic_ns();
        sent_[batch.base_id.value] = batch;
        next_ = batch.base_id.value + 1;
      }
      log_->append(std::move(batch));
    }
    std::unique_lock<std::mutex> lock(mutex_);
    changed_.wait(lock, [this] { return sent_.empty(); });
    figures.seconds = static_cast<double>(monotonic_ns() - start) / 1e9;
    figures.cpu_seconds = cpu_seconds() - cpu;
    figures.latencies_ns = std::move(latencies_);
    figures.batches = figures.latencies_ns.size();
    return figures;
  }

 private:
  // A buffer is free again when its batch is committed. Without a sync the log still holds it then, for the case of a
  // failure; as all batches here have the same content, using it again at once does no harm.
  void on_report(const LogReport& report) {
    need(report.status);
    const std::lock_guard<std::mutex> lock(mutex_);
    const int64_t now = monotonic_ns();
    for (size_t i = 0; i < report.committed; ++i) latencies_.push_back(now - sent_.at(committed_ + i).timestamp_ns);
    committed_ += report.committed;
    while (!sent_.empty() && sent_.begin()->first < committed_) {
      free_.push_back(std::move(sent_.begin()->second));
      sent_.erase(sent_.begin());
    }
    changed_.notify_one();
  }

  PartitionLog* const log_;
  const Arguments& arguments_;
  std::mutex mutex_;
  std::condition_variable changed_;
  std::vector<LogBatch> free_;         // guarded by mutex_
  std::map<uint64_t, LogBatch> sent_;  // guarded by mutex_; by id
  std::vector<int64_t> latencies_;     // guarded by mutex_
  uint64_t committed_ = 0;             // guarded by mutex_
  uint64_t next_ = 0;
};

Figures measure_log(const Arguments& arguments, const std::string& directory) {
  LogStore store(1);
  const LogIdentity identity{directory, Uuid::random(), "bench"};
  PartitionLogOptions options;
  options.policy = arguments.policy;
  options.pool = BufferPool::create(1 << 20);
  auto opened = need(PartitionLog::open(posix_file_system(), store, identity, options));
  Appender appender(opened.log.get(), arguments);
  return appender.run();
}

// What one thread reaches with nothing but write and fdatasync of `size` bytes.
Figures measure_disk(const Arguments& arguments, size_t size, const std::string& path) {
  constexpr uint64_t kFileBytes = uint64_t{256} << 20;
  const wire::BodyShape shape = shape_of(size);
  const auto pool = BufferPool::create(size_t{1} << 30);
  uint32_t head_crc = 0;
  const BufferRef buffer = make_buffer(*pool, shape, &head_crc);
  const uint64_t bytes = padded_record_bytes(shape.body_bytes());
  Figures figures;
  const double cpu = cpu_seconds();
  const int64_t start = monotonic_ns();
  std::unique_ptr<File> file;
  uint64_t offset = 0;
  while (monotonic_ns() < start + static_cast<int64_t>(arguments.seconds * 1e9)) {
    if (file == nullptr || offset + bytes > kFileBytes) {
      file = need(posix_file_system().open(path, OpenMode::kReplace, Caching::kDirect));
      need(file->reserve(0, std::max(kFileBytes, bytes)));
      offset = 0;
    }
    const int64_t before = monotonic_ns();
    need(write_all(*file, offset, {buffer->data(), bytes}));
    need(file->sync_data());
    figures.latencies_ns.push_back(monotonic_ns() - before);
    ++figures.batches;
    offset += bytes;
  }
  figures.seconds = static_cast<double>(monotonic_ns() - start) / 1e9;
  figures.cpu_seconds = cpu_seconds() - cpu;
  return figures;
}

bool parse_policy(const std::string& name, SyncPolicy* policy) {
  const std::map<std::string, SyncPolicy> policies = {
      {"memory", SyncPolicy::kMemory}, {"os", SyncPolicy::kOs}, {"sync", SyncPolicy::kSync}};
  const auto found = policies.find(name);
  if (found == policies.end()) return false;
  *policy = found->second;
  return true;
}

bool parse(int count, char** values, Arguments* arguments) {
  for (int i = 1; i + 1 < count; i += 2) {
    const std::string name = values[i];
    const std::string value = values[i + 1];
    if (name == "--dir") {
      arguments->directory = value;
    } else if (name == "--bytes") {
      arguments->bytes = std::strtoull(value.c_str(), nullptr, 10);
    } else if (name == "--seconds") {
      arguments->seconds = std::strtod(value.c_str(), nullptr);
    } else if (name == "--in-flight") {
      arguments->in_flight = std::strtoull(value.c_str(), nullptr, 10);
    } else if (name == "--durability") {
      arguments->policy_name = value;
      if (!parse_policy(value, &arguments->policy)) return false;
    } else {
      return false;
    }
  }
  if (arguments->in_flight == 0) {
    arguments->in_flight = std::clamp<size_t>((size_t{64} << 20) / std::max<size_t>(arguments->bytes, 1), 2, 64);
  }
  return count % 2 == 1 && arguments->bytes > 0 && arguments->seconds > 0;
}

int run(int count, char** values) {
  Arguments arguments;
  if (!parse(count, values, &arguments)) {
    std::fprintf(
        stderr, "usage: log_bench --dir DIR [--bytes N] [--durability memory|os|sync] [--seconds S] [--in-flight N]\n");
    return 2;
  }
  const std::string directory = arguments.directory + "/log-bench-" + Uuid::random().to_string();
  need(make_directories(posix_file_system(), directory).status());
  Figures log = measure_log(arguments, directory);
  constexpr size_t kRawBytesMin = size_t{64} << 20;
  const size_t raw_bytes = std::max(arguments.bytes, kRawBytesMin);
  Figures disk = measure_disk(arguments, arguments.bytes, directory + "/disk");
  const Figures raw = measure_disk(arguments, raw_bytes, directory + "/raw");
  need(remove_tree(posix_file_system(), directory));
  const double gigabytes = static_cast<double>(log.batches * arguments.bytes) / 1e9;
  std::printf(
      "{\"bench\":\"log\",\"bytes\":%zu,\"durability\":\"%s\",\"in_flight\":%zu,\"batches\":%llu,\"mb_per_s\":%.1f,"
      "\"p50_us\":%.1f,\"p99_us\":%.1f,\"cpu_s_per_gb\":%.3f,\"disk_mb_per_s\":%.1f,\"disk_p50_us\":%.1f,"
      "\"disk_p99_us\":%.1f,\"raw_mb_per_s\":%.1f}\n",
      arguments.bytes, arguments.policy_name.c_str(), arguments.in_flight, static_cast<unsigned long long>(log.batches),
      log.mb_per_s(arguments.bytes), log.percentile_us(0.5), log.percentile_us(0.99), log.cpu_seconds / gigabytes,
      disk.mb_per_s(arguments.bytes), disk.percentile_us(0.5), disk.percentile_us(0.99),
      std::max(disk.mb_per_s(arguments.bytes), raw.mb_per_s(raw_bytes)));
  return 0;
}

}  // namespace
}  // namespace diaspora::log

int main(int count, char** values) { return diaspora::log::run(count, values); }
