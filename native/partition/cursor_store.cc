#include "partition/cursor_store.h"

#include <algorithm>
#include <cstring>
#include <utility>

#include "base/bytes.h"
#include "base/clock.h"
#include "base/crc32c.h"

namespace diaspora::partition {

namespace {

// "DSCU" in file order.
constexpr uint32_t kMagic = 0x55435344;
constexpr uint16_t kVersion = 2;  // 1 had no fence and no generation
constexpr uint64_t kNoCursor = ~uint64_t{0};
constexpr size_t kSlotBytes = 512;
constexpr size_t kSlotCrcOffset = kSlotBytes - 4;
// Compaction when fewer than one slot in four counts, and never below 1024 slots (512 KiB).
constexpr uint64_t kCompactFactor = 4;
constexpr uint64_t kCompactSlotsMin = 1024;
constexpr uint64_t kFileBytesMax =
    (CursorTable::kCursorsMax + 1) * kCompactFactor * kSlotBytes + kCompactSlotsMin * kSlotBytes;
constexpr int64_t kIdleMs = 1000;

}  // namespace

CursorStore::CursorStore(log::FileSystem& files, log::LogStore& store, const CursorStoreOptions& options)
    : files_(files), writer_(store.writer_for(options.partition)), options_(options) {}

CursorStore::~CursorStore() { writer_.forget(this); }

Result<CursorStore::Opened> CursorStore::open(log::FileSystem& files, log::LogStore& store,
                                              const CursorStoreOptions& options) {
  Opened opened;
  opened.store.reset(new CursorStore(files, store, options));
  const Status loaded = opened.store->load(&opened.detail);
  if (!loaded) return loaded;
  return opened;
}

// Replacing the file at each open drops what was torn and keeps the file small; nothing is written when there is none.
Status CursorStore::load(std::string* detail) {
  const Result<bool> there = files_.exists(path());
  if (!there) return there.status();
  if (!there.value()) return {};
  {
    // Nothing is believed that stands only in the page cache.
    const Result<std::unique_ptr<log::File>> file =
        files_.open(path(), log::OpenMode::kReadWrite, log::Caching::kCached);
    if (!file) return file.status();
    const Status synced = file.value()->sync_data();
    if (!synced) return synced;
  }
  const Result<std::vector<uint8_t>> bytes = log::read_whole_file(files_, path(), kFileBytesMax);
  if (!bytes) return bytes.status();
  const uint64_t slots = bytes.value().size() / kSlotBytes;
  uint64_t damaged = 0;
  uint64_t damaged_before = 0;  // of those, followed by a whole one: not a torn tail
  for (uint64_t slot = 0; slot < slots; ++slot) {
    std::string consumer;
    ConsumerState state;
    if (!decode_slot(std::span(bytes.value()).subspan(slot * kSlotBytes, kSlotBytes), slot, &consumer, &state)) {
      ++damaged;
      continue;
    }
    damaged_before = damaged;
    cursors_[consumer] = state;
  }
  // Where events need not survive a power cut, their cursors may: what comes next must not be skipped.
  for (auto& [consumer, state] : cursors_) {
    if (state.next_id <= options_.log_next_id) continue;  // also where there is none
    *detail += options_.label + ": the cursor of \"" + consumer + "\" was at " + std::to_string(state.next_id->value) +
               ", past the log's end. ";
    state.next_id = options_.log_next_id;
  }
  if (damaged > 0) {
    *detail += options_.label + ": " + path() + ": " + std::to_string(damaged) + " slots dropped, " +
               std::to_string(damaged_before) + " of them damaged before whole ones";
  }
  return replace(cursors_);
}

void CursorStore::change(CursorUpdate update) {
  {
    const std::lock_guard<std::mutex> lock(mutex_);
    inbox_.push_back(std::move(update));
    if (inbox_.size() > 1) return;  // scheduled already
  }
  writer_.schedule(this);
}

void CursorStore::close(StatusCallback done) {
  {
    const std::lock_guard<std::mutex> lock(mutex_);
    close_callback_ = std::move(done);
  }
  writer_.schedule(this);
}

std::optional<int64_t> CursorStore::run() {
  std::vector<CursorUpdate> updates;
  StatusCallback close_callback;
  {
    const std::lock_guard<std::mutex> lock(mutex_);
    updates.swap(inbox_);
    close_callback = std::exchange(close_callback_, nullptr);
  }
  if (!updates.empty()) {
    Cursors changes;
    for (const CursorUpdate& update : updates) {
      const auto known = cursors_.find(update.consumer);
      const ConsumerState before = known == cursors_.end() ? ConsumerState() : known->second;
      changes.try_emplace(update.consumer, before).first->second.apply(update.change);
    }
    const Status written = write(changes);
    report_(std::move(updates), written);
  }
  if (close_callback) {
    close_callback(settle());
    return std::nullopt;
  }
  return unsynced_ ? std::optional(monotonic_ms() + kIdleMs) : std::nullopt;
}

std::optional<int64_t> CursorStore::on_idle() {
  // A failure leads to the file being replaced by the next update; until then the level of what was promised holds.
  static_cast<void>(settle());
  return std::nullopt;
}

Status CursorStore::settle() {
  if (!unsynced_) return {};
  unsynced_ = false;
  const Status synced = file_ != nullptr ? file_->sync_data() : replace(cursors_);
  if (!synced) file_ = nullptr;
  return synced;
}

// Compute, write, then commit to memory.
Status CursorStore::write(const Cursors& changes) {
  Cursors moved;
  for (const auto& [consumer, state] : changes) {
    const auto known = cursors_.find(consumer);
    if (known == cursors_.end() || known->second != state) moved[consumer] = state;
  }
  const uint64_t names = cursors_.size() + moved.size();
  const bool compact = slot_count_ + moved.size() > std::max(kCompactSlotsMin, kCompactFactor * names);
  const Status written = file_ == nullptr || compact ? replace_with(moved) : append(moved);
  if (!written) {
    file_ = nullptr;
    return written;
  }
  for (const auto& [consumer, state] : moved) cursors_[consumer] = state;
  return {};
}

Status CursorStore::replace_with(const Cursors& changes) {
  Cursors merged = cursors_;
  for (const auto& [consumer, state] : changes) merged[consumer] = state;
  return replace(merged);
}

Status CursorStore::append(const Cursors& changes) {
  if (changes.empty()) return {};
  std::vector<uint8_t> bytes(changes.size() * kSlotBytes);
  uint64_t i = 0;
  for (const auto& [consumer, state] : changes) {
    encode_slot(consumer, state, slot_count_ + i, &bytes[i * kSlotBytes]);
    ++i;
  }
  const Status written = log::write_all(*file_, slot_count_ * kSlotBytes, bytes);
  if (!written) return written;
  slot_count_ += changes.size();
  unsynced_ = !options_.synced;
  return options_.synced ? file_->sync_data() : Status();
}

Status CursorStore::replace(const Cursors& cursors) {
  std::vector<uint8_t> bytes(cursors.size() * kSlotBytes);
  uint64_t i = 0;
  for (const auto& [consumer, state] : cursors) {
    encode_slot(consumer, state, i, &bytes[i * kSlotBytes]);
    ++i;
  }
  file_ = nullptr;
  const Status replaced = log::replace_file(files_, path(), bytes);
  if (!replaced) return replaced;
  Result<std::unique_ptr<log::File>> file = files_.open(path(), log::OpenMode::kReadWrite, log::Caching::kCached);
  if (!file) return file.status();
  file_ = file.take();
  slot_count_ = cursors.size();
  unsynced_ = false;
  return {};
}

void CursorStore::encode_slot(const std::string& consumer, const ConsumerState& state, uint64_t slot,
                              uint8_t* out) const {
  DIASPORA_CHECK(consumer.size() <= kNameBytesMax);
  std::vector<uint8_t> bytes;
  bytes.reserve(kSlotBytes);
  ByteWriter fields(&bytes);
  fields.u32(kMagic);
  fields.u16(kVersion);
  fields.u16(static_cast<uint16_t>(consumer.size()));
  fields.uuid(options_.partition);
  fields.u64(slot);
  fields.u64(state.next_id ? state.next_id->value : kNoCursor);
  fields.u64(state.fence);
  fields.u64(state.generation);
  fields.bytes({reinterpret_cast<const uint8_t*>(consumer.data()), consumer.size()});
  bytes.resize(kSlotCrcOffset);
  fields.u32(crc32c(bytes));
  std::memcpy(out, bytes.data(), kSlotBytes);
}

bool CursorStore::decode_slot(std::span<const uint8_t> bytes, uint64_t slot, std::string* consumer,
                              ConsumerState* state) const {
  ByteReader in(bytes);
  const uint32_t magic = in.u32();
  const uint16_t version = in.u16();
  const uint16_t name_bytes = in.u16();
  const Uuid partition = in.uuid();
  const uint64_t stored_slot = in.u64();
  const uint64_t next_id = in.u64();
  *state = {};
  if (next_id != kNoCursor) state->next_id = EventId(next_id);
  if (version == kVersion) {
    state->fence = in.u64();
    state->generation = in.u64();
  }
  const std::span<const uint8_t> name = in.bytes(std::min<size_t>(name_bytes, kNameBytesMax));
  consumer->assign(name.begin(), name.end());
  uint32_t crc = 0;
  std::memcpy(&crc, &bytes[kSlotCrcOffset], sizeof(crc));
  return crc == crc32c(bytes.first(kSlotCrcOffset)) && magic == kMagic && (version == kVersion || version == 1) &&
         name_bytes <= kNameBytesMax && partition == options_.partition && stored_slot == slot;
}

}  // namespace diaspora::partition
