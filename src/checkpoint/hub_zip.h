#pragma once
// Reads one member out of a zip archive (a Python wheel is one). Nothing in the archive is trusted.

#include <cstddef>
#include <cstdint>
#include <functional>
#include <span>
#include <string>
#include <string_view>

namespace sgl::hub {

/// Feeds the uncompressed bytes of `member` to `sink`, in order, in parts, and checks its size and CRC-32.
/// `archive` is the whole file; `name` is for messages. Format: PKWARE APPNOTE 6.3.x, methods 0 (stored) and 8
/// (deflated), without Zip64 and encryption. At most `max_size` bytes are fed, whatever the archive promises.
/// Throws NotFound (no such member), CorruptFile, Unsupported, ResourceExhausted (longer than max_size), and what
/// `sink` throws.
void unzip_member(std::span<const std::byte> archive, const std::string& name, std::string_view member,
                  uint64_t max_size, const std::function<void(std::span<const std::byte>)>& sink);

}  // namespace sgl::hub
