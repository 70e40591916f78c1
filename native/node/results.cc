#include "node/results.h"

#include <string>
#include <vector>

#include "node/convert.h"

namespace diaspora::node {

namespace {

constexpr const char* kTopicStates[] = {"creating", "active", "deleting", "complete"};
constexpr const char* kDurabilities[] = {"memory", "os", "sync"};
constexpr const char* kManagers[] = {"memory", "log"};

napi_value make_text(napi_env env, const std::string& text) { return make_string(env, text); }

napi_value make_uuid(napi_env env, const Uuid& uuid) { return make_string(env, uuid.to_string()); }

napi_value make_provider(napi_env env, const fabric::ProviderInfo& info) {
  return ObjectBuilder(env)
      .string("name", info.name)
      .string("family", info.family)
      .string("version", info.fabric_version)
      .number("messageBytesMax", static_cast<double>(info.message_bytes_max))
      .boolean("hasWaitFd", info.has_wait_fd)
      .boolean("sameHostOnly", info.same_host_only)
      .result();
}

napi_value make_topic(napi_env env, const wire::TopicRecord& record) {
  return ObjectBuilder(env)
      .string("name", record.name)
      .set("uuid", make_uuid(env, record.uuid))
      .string("state", kTopicStates[static_cast<uint8_t>(record.state)])
      .number("partitions", static_cast<double>(record.placement.size()))
      .string("durability", kDurabilities[record.durability])
      .string("manager", kManagers[static_cast<uint8_t>(record.manager)])
      .set("placement", make_array(env, record.placement, make_uuid))
      .string("config", record.config)
      .number("retentionBytes", static_cast<double>(record.retention.bytes))
      .number("retentionAgeMs", static_cast<double>(record.retention.age_ms))
      .result();
}

napi_value make_status(napi_env env, const wire::PartitionStatus& status) {
  return ObjectBuilder(env)
      .number("partition", status.partition.value)
      .number("firstId", static_cast<double>(status.first_id.value))
      .number("nextId", static_cast<double>(status.next_id.value))
      .result();
}

napi_value make_partition(napi_env env, const PartitionIndex& partition) { return make_number(env, partition.value); }

napi_value make_cursor(napi_env env, const wire::CursorRow& row) {
  return ObjectBuilder(env)
      .string("consumer", row.consumer)
      .number("partition", row.partition.value)
      .number("nextId", static_cast<double>(row.next_id.value))
      .result();
}

// The objects of each alternative of Payload.
struct PayloadMaker {
  napi_env env;

  napi_value operator()(const std::monostate& /*none*/) const { return make_undefined(env); }
  napi_value operator()(const Error& error) const { return make_native_error(env, error); }
  napi_value operator()(const std::vector<wire::TopicRecord>& topics) const {
    return make_array(env, topics, make_topic);
  }
  napi_value operator()(const std::vector<wire::PartitionStatus>& rows) const {
    return make_array(env, rows, make_status);
  }
  napi_value operator()(const std::vector<wire::CursorRow>& rows) const { return make_array(env, rows, make_cursor); }
  napi_value operator()(const FabricReport& report) const {
    napi_value library = nullptr;
    if (report.library.ok()) {
      const fabric::LibraryInfo& info = report.library.value();
      library = ObjectBuilder(env).string("path", info.path).string("version", info.version).result();
    } else {
      library = make_native_error(env, report.library.error());
    }
    return ObjectBuilder(env)
        .set("library", library)
        .set("providers", make_array(env, report.providers, make_provider))
        .result();
  }
  napi_value operator()(const ServerStarted& started) const {
    return ObjectBuilder(env)
        .string("uuid", started.uuid)
        .number("port", started.port)
        .set("providers", make_array(env, started.providers, make_provider))
        .result();
  }
  napi_value operator()(const LogLine& line) const {
    return ObjectBuilder(env).string("level", line.warn ? "warn" : "info").string("message", line.message).result();
  }
  napi_value operator()(const Assignment& assignment) const {
    return ObjectBuilder(env)
        .set("granted", make_array(env, assignment.granted, make_partition))
        .set("revoked", make_array(env, assignment.revoked, make_partition))
        .result();
  }
  napi_value operator()(const DriverOpened& opened) const {
    return ObjectBuilder(env)
        .number("id", opened.client)
        .set("uuids", make_array(env, opened.servers, make_uuid))
        .result();
  }
  napi_value operator()(const DriverClosed& /*event*/) const { return make_undefined(env); }
};

// What client and server count alike.
template <typename Counters>
ObjectBuilder& common_counters(ObjectBuilder& builder, const Counters& counters) {
  return builder.number("dataBytesByRma", static_cast<double>(counters.data_bytes_by_rma))
      .number("dataBytesCopied", static_cast<double>(counters.data_bytes_copied))
      .number("dataBytes", static_cast<double>(counters.data_bytes))
      .number("eventsProduced", static_cast<double>(counters.events_produced))
      .number("eventsConsumed", static_cast<double>(counters.events_consumed))
      .number("batches", static_cast<double>(counters.batches))
      .number("registrations", static_cast<double>(counters.registrations));
}

}  // namespace

napi_value make_payload(napi_env env, const Payload& payload) { return std::visit(PayloadMaker{env}, payload); }

napi_value make_counters(napi_env env, const client::Counters& counters) {
  ObjectBuilder builder(env);
  return common_counters(builder, counters)
      .number("reconnects", static_cast<double>(counters.reconnects))
      .set("providers", make_array(env, counters.providers, make_text))
      .result();
}

napi_value make_counters(napi_env env, const server::ServerCounters& counters) {
  ObjectBuilder builder(env);
  return common_counters(builder, counters)
      .number("sessions", static_cast<double>(counters.sessions))
      .number("reconnects", 0)
      .set("providers", make_array(env, std::vector<std::string>(), make_text))
      .result();
}

}  // namespace diaspora::node
