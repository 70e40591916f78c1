// Every bound that both sides must agree on, each with its reason.
#pragma once

#include <cstddef>
#include <cstdint>

namespace diaspora {

// One fabric message. 64 KiB: larger gains nothing on tcp or shm (facts measured on loopback); providers over ofi_rxm
// get their own lower value in the handshake, because a larger send would expose the sender's buffer.
inline constexpr size_t kMessageBytesMax = 64 * 1024;

// Metadata of one event. 1 MiB: a small JSON document; larger belongs into the data.
inline constexpr size_t kEventMetadataBytesMax = 1024 * 1024;

// Events of one batch. 64 Ki: the per-event table stays at 1.5 MiB.
inline constexpr uint32_t kBatchEventsMax = 64 * 1024;

// A stored batch: header, event table, metadata and data. 1 GiB - 4 KiB keeps every length in 32 bits with room.
inline constexpr uint64_t kBatchBytesMax = (uint64_t{1} << 30) - 4096;

// Default zero-copy threshold, bytes a segment: an RMA operation over tcp costs 8 to 10 us, copying 64 KiB about as
// much.
inline constexpr uint32_t kZeroCopyThresholdDefault = 64 * 1024;

// Metadata of one batch before it was compressed: what a receiver must have memory for, whatever came in how few bytes.
// 8 MiB: producers of ours seal at half of it.
inline constexpr size_t kExpandedMetadataBytesMax = size_t{8} << 20;

// Topic and consumer names, bytes of UTF-8. 256 as in the reference.
inline constexpr size_t kNameBytesMax = 256;

// Partitions of one topic. 1024: each costs a file handle and a few KiB on its server.
inline constexpr uint32_t kPartitionsMax = 1024;

// One control frame (handshake or request). 8 MiB holds a listing of some thousand topics.
inline constexpr size_t kControlFrameBytesMax = 8 * 1024 * 1024;

}  // namespace diaspora
