#include "log/segment_set.h"

#include <algorithm>
#include <utility>

namespace diaspora::log {

void SegmentSet::restore(const std::vector<SegmentSummary>& segments, std::vector<RecordEntry> last_records) {
  const std::lock_guard<std::mutex> lock(mutex_);
  DIASPORA_CHECK(segments_.empty());
  for (const SegmentSummary& segment : segments) segments_.push_back({segment.number, segment.base_id, nullptr});
  last_records_ = std::move(last_records);
}

void SegmentSet::begin_segment(const SegmentSummary& segment) {
  const std::lock_guard<std::mutex> lock(mutex_);
  while (!last_records_.empty() && last_records_.back().base_id >= segment.base_id) last_records_.pop_back();
  if (!segments_.empty() && segments_.back().number == segment.number) {
    DIASPORA_CHECK(last_records_.empty());
    segments_.pop_back();
  } else if (!segments_.empty()) {
    segments_.back().records = std::make_shared<const std::vector<RecordEntry>>(std::move(last_records_));
    keep_loaded(segments_.back().number);
  }
  last_records_.clear();
  segments_.push_back({segment.number, segment.base_id, nullptr});
}

void SegmentSet::add_record(const RecordEntry& record) {
  const std::lock_guard<std::mutex> lock(mutex_);
  DIASPORA_CHECK(!segments_.empty());
  DIASPORA_CHECK(last_records_.empty() || last_records_.back().base_id < record.base_id);
  last_records_.push_back(record);
}

// The last segment that begins at or before `id`.
size_t SegmentSet::segment_of(EventId id) const {
  const auto after = std::upper_bound(segments_.begin(), segments_.end(), id,
                                      [](EventId wanted, const Segment& segment) { return wanted < segment.base_id; });
  DIASPORA_CHECK(after != segments_.begin());
  return static_cast<size_t>(after - segments_.begin()) - 1;
}

void SegmentSet::keep_loaded(uint64_t number) {
  loaded_.push_back(number);
  if (loaded_.size() <= kLoadedMax) return;
  const uint64_t unload = loaded_.front();
  loaded_.pop_front();
  const auto segment = std::find_if(segments_.begin(), segments_.end(),
                                    [unload](const Segment& candidate) { return candidate.number == unload; });
  if (segment != segments_.end()) segment->records = nullptr;
}

void SegmentSet::drop_before(uint64_t number) {
  const std::lock_guard<std::mutex> lock(mutex_);
  std::erase_if(segments_, [number](const Segment& segment) { return segment.number < number; });
  DIASPORA_CHECK(!segments_.empty());
  std::erase_if(loaded_, [number](uint64_t loaded) { return loaded < number; });
}

EventId SegmentSet::first_id() {
  const std::lock_guard<std::mutex> lock(mutex_);
  return segments_.empty() ? EventId() : segments_.front().base_id;
}

Result<RecordPlace> SegmentSet::find(EventId id) {
  uint64_t number = 0;
  EventId end_id;
  {
    const std::lock_guard<std::mutex> lock(mutex_);
    if (!segments_.empty() && id < segments_.front().base_id) {
      return {ErrorCode::k_OFFSET_OUT_OF_RANGE, identity_.label + ": event " + std::to_string(id.value) +
                                                    " was dropped; the oldest kept is " +
                                                    std::to_string(segments_.front().base_id.value)};
    }
    const size_t i = segment_of(id);
    const bool is_last = i + 1 == segments_.size();
    const std::vector<RecordEntry>* records = is_last ? &last_records_ : segments_[i].records.get();
    number = segments_[i].number;
    if (records != nullptr) {
      const RecordEntry* record = find_record(*records, id);
      DIASPORA_CHECK(record != nullptr);
      return RecordPlace{number, *record};
    }
    end_id = segments_[i + 1].base_id;
  }
  Result<SegmentIndex> index = load_segment_index(files_, identity_, number, end_id);
  if (!index) return index.status();
  const auto records = std::make_shared<const std::vector<RecordEntry>>(std::move(index.value().records));
  const RecordEntry* record = find_record(*records, id);
  if (record == nullptr)
    return corrupt_log(identity_, number, "its index does not list event " + std::to_string(id.value));
  const std::lock_guard<std::mutex> lock(mutex_);
  const auto segment = std::find_if(segments_.begin(), segments_.end(),
                                    [number](const Segment& candidate) { return candidate.number == number; });
  if (segment != segments_.end()) {  // not dropped meanwhile
    segment->records = records;
    keep_loaded(number);
  }
  return RecordPlace{number, *record};
}

}  // namespace diaspora::log
