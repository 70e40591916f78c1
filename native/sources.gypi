{
  "variables": {
    "core_sources": [
      "native/base/buffer_pool.cc",
      "native/base/crc32c.cc",
      "native/base/error.cc",
      "native/base/ids.cc",
      "native/base/reactor.cc",
      "native/fabric/fabric.cc",
      "native/fabric/in_flight.cc",
      "native/fabric/library.cc",
      "native/fabric/local_domain.cc",
      "native/fabric/local_hub.cc",
      "native/fabric/ofi_discovery.cc",
      "native/fabric/ofi_domain.cc",
      "native/fabric/ofi_endpoint.cc",
      "native/fabric/ofi_policy.cc",
      "native/fabric/ofi_region.cc",
      "native/fabric/ofi_slots.cc",
      "native/fabric/shm_files.cc",
      "native/fabric/signal_guard.cc",
      "native/log/file.cc",
      "native/log/log_writer.cc",
      "native/log/posix_file.cc",
      "native/partition/catalogue.cc",
      "native/partition/memory_partition.cc",
      "native/partition/sequence_table.cc",
      "native/partition/storage.cc",
      "native/server/batch_intake.cc",
      "native/server/core.cc",
      "native/server/fetch_service.cc",
      "native/server/server.cc",
      "native/server/session.cc",
      "native/server/subscription.cc",
      "native/server/topic_table.cc",
      "native/session/control_channel.cc",
      "native/session/link.cc",
      "native/wire/batch_body.cc",
      "native/wire/control.cc",
      "native/wire/message.cc"
    ],
    "addon_sources": [],
    "header_roots": [
      "native"
    ],
    "napi_version": "9",
    "cxx_standard": "20"
  }
}
