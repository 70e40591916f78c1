// The consumer groups that this server keeps: those of topics whose partition 0 it owns.
//
// A member is alive while its session is; when that ends without a goodbye it has session_timeout_ms to come back with
// another. Tokens survive a restart of the server: what may have been given out is stored, in blocks, with the consumer
// name at partition 0 before it is told to anybody; and they begin with the time, so that they rise also where that was
// lost. Members come back with what they hold, and for a while nobody else is given what they have not said yet.
// Thread: the server's reactor. Owner: Core.
#pragma once

#include <functional>
#include <map>
#include <memory>
#include <string>
#include <utility>

#include "base/reactor.h"
#include "server/core.h"
#include "server/group.h"
#include "wire/control.h"

namespace diaspora::server {

class GroupTable {
 public:
  using Answer = std::function<void(const Result<wire::GroupView>&)>;

  explicit GroupTable(Core* core);
  ~GroupTable();
  GroupTable(const GroupTable&) = delete;
  GroupTable& operator=(const GroupTable&) = delete;

  // `answer` runs at once or later, once, unless the session ends first. `session`: told apart by address only.
  void sync(const void* session, const wire::GroupSyncFrame& frame, Answer answer);
  // `left`: with a goodbye, so its members do not come back.
  void session_ended(const void* session, bool left);
  // The topic's partition 0 is about to close.
  void drop(const Uuid& topic, const Error& reason);

 private:
  using Key = std::pair<Uuid, std::string>;
  // How a member is reached.
  struct Attendance {
    const void* session = nullptr;  // null: gone
    uint64_t serial = 0;
    uint64_t known_view = 0;  // by the member
    Answer answer;            // waits for another view; may be empty
    int64_t session_timeout_ms = 0;
    int64_t gone_until_ms = 0;  // while session is null
  };
  struct Entry {
    Entry(uint32_t partitions, uint64_t generation) : group(partitions, generation), stored_generation(generation) {}
    Group group;
    std::map<Uuid, Attendance> members;
    uint64_t stored_generation;
    bool storing = false;
    int64_t store_again_ms = 0;  // after a failure; 0: none
    int64_t hold_until_ms = 0;   // members that this server has forgotten may come back until then
  };

  Result<Entry*> find_or_make(const wire::GroupSyncFrame& frame);
  void attend(Entry* entry, const void* session, const wire::GroupSyncFrame& frame, Answer answer);
  void answer(Entry* entry, const Uuid& member, Attendance* attendance);
  Status may_join(const void* session, const wire::GroupSyncFrame& frame) const;
  // The member is reached by this session now; null: by none.
  void move_to(const void* session, Attendance* attendance);
  // Everything that follows from a change or from time. The group may be gone afterwards.
  void advance(const Key& key);
  bool store_generation(const Key& key, Entry* entry);
  void on_timer();
  // Sees to it that on_timer() runs when something of the group is due.
  void arm(const Key& key);
  void arm(const Entry& entry);

  Core* core_;
  std::map<Key, Entry> entries_;
  size_t member_count_ = 0;
  std::map<const void*, size_t> members_of_session_;
  const int64_t started_ms_;
  const uint64_t first_token_;  // what groups gave out before this server started is lower
  Reactor::TimerId timer_ = 0;
  int64_t timer_ms_ = 0;
  std::shared_ptr<bool> alive_;
};

}  // namespace diaspora::server
