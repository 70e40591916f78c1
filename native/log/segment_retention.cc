#include "log/segment_retention.h"

#include <algorithm>
#include <limits>
#include <string>

namespace diaspora::log {

namespace {

constexpr int64_t kNsPerMs = 1'000'000;

// When the newest batch of a sealed segment was stored; the smallest number for a segment without any.
Result<int64_t> read_newest_ns(FileSystem& files, const LogIdentity& identity, uint64_t number, EventId end_id) {
  const Result<SegmentIndex> index = load_segment_index(files, identity, number, end_id);
  if (!index) return index.status();
  if (index.value().records.empty()) return std::numeric_limits<int64_t>::min();
  const Result<std::unique_ptr<File>> file =
      files.open(identity.directory + "/" + segment_file_name(number), OpenMode::kRead, Caching::kCached);
  if (!file) return file.status();
  const auto header = read_record_header(*file.value(), index.value().records.back().offset);
  if (!header) return header.status();
  return header.value().timestamp_ns;
}

}  // namespace

void SegmentRetention::restore(const RecoveredLog& recovered) {
  for (const SegmentSummary& segment : recovered.segments) note_sealed(segment);
  if (!sealed_.empty()) sealed_.pop_back();  // the open one
  for (const ProducerEntry& producer : recovered.producers) note_producer(producer);
}

void SegmentRetention::note_producer(const ProducerEntry& entry) {
  if (!is_limited() || entry.session.is_nil()) return;
  if (producers_.size() >= ProducerHistory::kSessionsMax && !producers_.contains(entry.session)) {
    producers_.erase(std::min_element(producers_.begin(), producers_.end(), [](const auto& a, const auto& b) {
      return a.second.base_id < b.second.base_id;
    }));
  }
  producers_[entry.session] = entry;
}

EventId SegmentRetention::end_of(size_t at, const SegmentSummary& open) const {
  return at + 1 < sealed_.size() ? sealed_[at + 1].base_id : open.base_id;
}

// A segment whose age can't be read counts as new when it is first looked at: it goes a whole age later.
int64_t SegmentRetention::newest_ns(size_t at, const SegmentSummary& open, int64_t now_ns) {
  Sealed& segment = sealed_[at];
  if (segment.newest_ns == 0) {
    const Result<int64_t> newest = read_newest_ns(files_, identity_, segment.number, end_of(at, open));
    segment.newest_ns = newest ? newest.value() : now_ns;
  }
  return segment.newest_ns;
}

// How many of the oldest segments are to go.
size_t SegmentRetention::count_expired(const SegmentSummary& open, uint64_t open_bytes, int64_t now_ns) {
  size_t count = 0;
  if (retention_.bytes > 0) {
    uint64_t total = open_bytes;
    for (Sealed& segment : sealed_) {
      if (segment.bytes == 0) {
        const auto file = files_.open(identity_.directory + "/" + segment_file_name(segment.number), OpenMode::kRead,
                                      Caching::kCached);
        const Result<uint64_t> size = file ? file.value()->size() : Result<uint64_t>(file.status());
        segment.bytes = size ? size.value() : 0;  // looked at again the next time
      }
      total += segment.bytes;
    }
    for (; count < sealed_.size() && total > retention_.bytes; ++count) total -= sealed_[count].bytes;
  }
  if (retention_.age_ms > 0) {
    const int64_t oldest_ns = now_ns - static_cast<int64_t>(retention_.age_ms) * kNsPerMs;
    while (count < sealed_.size() && newest_ns(count, open, now_ns) < oldest_ns) ++count;
  }
  return count;
}

LogStart SegmentRetention::start_behind(size_t count, const SegmentSummary& open) const {
  LogStart start;
  start.segment_number = count < sealed_.size() ? sealed_[count].number : open.number;
  start.base_id = count < sealed_.size() ? sealed_[count].base_id : open.base_id;
  for (const auto& [session, producer] : producers_) {
    if (producer.base_id < start.base_id) start.producers.push_back(producer);
  }
  std::sort(start.producers.begin(), start.producers.end(),
            [](const ProducerEntry& a, const ProducerEntry& b) { return a.base_id < b.base_id; });
  return start;
}

Status SegmentRetention::drop_expired(const SegmentSummary& open, uint64_t open_bytes, int64_t now_ns) {
  const size_t count = count_expired(open, open_bytes, now_ns);
  if (count > 0) {
    // Their indexes go first: they can be rebuilt, and on a full disk they make room for the file that is written next.
    for (size_t i = 0; i < count; ++i) {
      static_cast<void>(files_.remove_file(identity_.directory + "/" + index_file_name(sealed_[i].number)));
    }
    const LogStart start = start_behind(count, open);
    const Status stored = store_log_start(files_, identity_, start);
    if (!stored) return stored;
    for (size_t i = 0; i < count; ++i) removed_.push_back(sealed_[i].number);
    sealed_.erase(sealed_.begin(), sealed_.begin() + static_cast<ptrdiff_t>(count));
    if (hooks_.on_first_id) hooks_.on_first_id(start.base_id);
    segments_->drop_before(start.segment_number);
    if (hooks_.on_closed) hooks_.on_closed(start.segment_number);
  }
  remove_files();
  return {};
}

void SegmentRetention::remove_files() {
  if (removed_.empty()) return;
  while (!removed_.empty()) {
    const std::string path = identity_.directory + "/" + segment_file_name(removed_.front());
    const Result<bool> there = files_.exists(path);
    if (!there || (there.value() && !files_.remove_file(path))) break;
    removed_.pop_front();
  }
  // Should it fail, recovery finds files before the log's start, and removes them again.
  static_cast<void>(files_.sync_directory(identity_.directory));
}

}  // namespace diaspora::log
