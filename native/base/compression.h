// zstd, for the metadata of batches: opened at run time (libzstd.so.1), so that nothing needs it that does not
// compress.
//
// Any thread: each has contexts of its own, made on first use.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

#include "base/error.h"

namespace diaspora {

// COMPRESSION_MISSING where the library cannot be opened: found out once a process.
Status compression_available();

// Compresses `from` to one frame at `to`. Gives its length; 0: it does not fit, or the library is not there.
size_t compress(std::span<const uint8_t> from, std::span<uint8_t> to, int level);

// `from` is one frame that gives exactly `to`. CORRUPT_DATA, COMPRESSION_MISSING.
Status decompress(std::span<const uint8_t> from, std::span<uint8_t> to);

}  // namespace diaspora
