// The durable cursors of one partition: a small file of fixed slots, appended to, compacted when mostly superseded.
//
//   file := slot*          slot := 512 bytes (docs/formats/log.md)
//
// The newest slot of a consumer counts. A slot fills one sector of the smallest kind, so a torn write hurts only
// itself, and a damaged slot is recognised beside whole ones. All acknowledgements that wait while a sync runs go into
// the next write; of several for one consumer only the result is written. Threads: open on the caller's; change from
// the owner's; the work and the reports on the partition's writer thread. Invariant: what was reported with success is
// in the file at the partition's durability; after a failed write or sync the file is replaced as a whole before
// anything else is reported.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <mutex>
#include <string>
#include <unordered_map>
#include <vector>

#include "log/file.h"
#include "log/log_writer.h"
#include "partition/cursor_table.h"
#include "partition/partition.h"

namespace diaspora::partition {

struct CursorUpdate {
  std::string consumer;
  ConsumerChange change;
  StatusCallback done;
};

struct CursorStoreOptions {
  std::string directory;
  Uuid partition;
  std::string label;  // what messages call the partition
  bool synced = true;
  EventId log_next_id;  // of the recovered log: a cursor past it is set back to it
};

class CursorStore final : public log::WriterTask {
 public:
  using Cursors = std::unordered_map<std::string, ConsumerState>;
  // Updates of one group with their common outcome; on the writer thread.
  using ReportCallback = std::function<void(std::vector<CursorUpdate>, const Status&)>;

  struct Opened {
    std::unique_ptr<CursorStore> store;
    std::string detail;  // damaged slots, for the recovery report; empty when there were none
  };
  static Result<Opened> open(log::FileSystem& files, log::LogStore& store, const CursorStoreOptions& options);
  ~CursorStore() override;

  // Valid until the first change().
  const Cursors& recovered() const { return cursors_; }
  void set_report(ReportCallback report) { report_ = std::move(report); }

  void change(CursorUpdate update);
  // After every update; `done` runs on the writer thread. No call but the destructor may follow.
  void close(StatusCallback done);

  std::optional<int64_t> run() override;
  std::optional<int64_t> on_idle() override;

 private:
  CursorStore(log::FileSystem& files, log::LogStore& store, const CursorStoreOptions& options);
  std::string path() const { return options_.directory + "/cursors"; }
  Status load(std::string* detail);
  Status write(const Cursors& changes);
  Status append(const Cursors& changes);
  Status replace_with(const Cursors& changes);
  Status replace(const Cursors& cursors);
  Status settle();
  void encode_slot(const std::string& consumer, const ConsumerState& state, uint64_t slot, uint8_t* out) const;
  bool decode_slot(std::span<const uint8_t> bytes, uint64_t slot, std::string* consumer, ConsumerState* state) const;

  log::FileSystem& files_;
  log::WriterThread& writer_;
  const CursorStoreOptions options_;
  ReportCallback report_;

  std::mutex mutex_;
  std::vector<CursorUpdate> inbox_;  // guarded by mutex_
  StatusCallback close_callback_;    // guarded by mutex_

  // Below: open(), then the writer thread only.
  Cursors cursors_;                  // what the file says
  std::unique_ptr<log::File> file_;  // null: none yet, or it must be replaced before it is used again
  uint64_t slot_count_ = 0;
  bool unsynced_ = false;
};

}  // namespace diaspora::partition
