#include "checkpoint/hub_zip.h"

#include <algorithm>
#include <memory>
#include <optional>
#include <vector>
#include <zlib.h>

#include <fmt/format.h>

#include "sgl/error.h"

namespace sgl::hub {
namespace {

using Bytes = std::span<const std::byte>;

// An archive, as far as it matters here; all numbers little-endian:
//
//   [local header, 30 bytes + name + extra][data] … one for each member
//   [central entry, 46 bytes + name + extra + comment] … one for each member
//   [end record, 22 bytes + comment]
//
// The end record says where the central entries are; a central entry says where its local header is, and has the
// sizes (the local header may leave them out).
constexpr size_t kEndSize = 22, kCentralSize = 46, kLocalSize = 30;
constexpr uint32_t kEndMagic = 0x06054b50, kCentralMagic = 0x02014b50, kLocalMagic = 0x04034b50;
constexpr uint32_t kInZip64 = 0xffffffff;

struct Entry {
  uint16_t flags, method;
  uint32_t crc, packed_size, size, local_offset;
};

/// Reads at checked offsets.
class Reader {
 public:
  Reader(Bytes bytes, const std::string& name) : bytes_(bytes), name_(name) {}

  Bytes part(uint64_t offset, uint64_t size) const {
    if (offset > bytes_.size() || size > bytes_.size() - offset) fail("is cut off");
    return bytes_.subspan(offset, size);
  }
  uint16_t u16(uint64_t offset) const {
    Bytes b = part(offset, 2);
    return static_cast<uint16_t>(static_cast<unsigned>(b[0]) | static_cast<unsigned>(b[1]) << 8);
  }
  uint32_t u32(uint64_t offset) const { return u16(offset) | static_cast<uint32_t>(u16(offset + 2)) << 16; }
  std::string_view text(uint64_t offset, uint64_t size) const {
    Bytes b = part(offset, size);
    return {reinterpret_cast<const char*>(b.data()), b.size()};
  }
  size_t size() const { return bytes_.size(); }

  [[noreturn]] void fail(const char* what, ErrorKind kind = ErrorKind::CorruptFile) const {
    throw Error(kind, fmt::format("the zip archive {} {}", name_, what));
  }

 private:
  Bytes bytes_;
  const std::string& name_;
};

/// Offset of the end record: the last one, since a comment of up to 65535 bytes may follow it.
uint64_t find_end(const Reader& in) {
  if (in.size() < kEndSize) in.fail("is too short");
  uint64_t last = in.size() - kEndSize;
  uint64_t first = last > 0xffff ? last - 0xffff : 0;
  for (uint64_t at = last + 1; at-- > first;) {
    if (in.u32(at) == kEndMagic && at + kEndSize + in.u16(at + 20) == in.size()) return at;
  }
  in.fail("has no end record: it is not a zip file, or not whole");
}

std::optional<Entry> find_entry(const Reader& in, std::string_view member) {
  uint64_t end = find_end(in);
  uint64_t at = in.u32(end + 16);
  uint64_t stop = at + in.u32(end + 12);
  if (at == kInZip64) in.fail("is in Zip64 form, which is not supported", ErrorKind::Unsupported);
  if (stop > end) in.fail("has a directory outside of the file");
  while (at < stop) {
    if (in.u32(at) != kCentralMagic) in.fail("has a damaged directory");
    uint64_t name_size = in.u16(at + 28);
    if (in.text(at + kCentralSize, name_size) == member) {
      return Entry{.flags = in.u16(at + 8),
                   .method = in.u16(at + 10),
                   .crc = in.u32(at + 16),
                   .packed_size = in.u32(at + 20),
                   .size = in.u32(at + 24),
                   .local_offset = in.u32(at + 42)};
    }
    at += kCentralSize + name_size + in.u16(at + 30) + in.u16(at + 32);
  }
  return std::nullopt;
}

/// Counts and checks what goes to the sink.
struct Checked {
  const std::function<void(Bytes)>& sink;
  uint64_t expected;
  uint64_t fed = 0;
  uLong crc = crc32(0, nullptr, 0);

  /// False when more comes than the directory says.
  bool feed(Bytes bytes) {
    if (bytes.size() > expected - fed) return false;
    fed += bytes.size();
    crc = crc32_z(crc, reinterpret_cast<const Bytef*>(bytes.data()), bytes.size());
    sink(bytes);
    return true;
  }
};

void inflate_to(Bytes packed, Checked& out, const Reader& in) {
  z_stream z{};
  if (inflateInit2(&z, -MAX_WBITS) != Z_OK)
    in.fail("could not be unpacked: zlib is out of memory", ErrorKind::Internal);
  std::unique_ptr<z_stream, decltype(&inflateEnd)> end(&z, inflateEnd);
  std::vector<std::byte> buffer(size_t{256} << 10);
  int result = Z_OK;
  while (result != Z_STREAM_END) {
    if (z.avail_in == 0) {
      Bytes part = packed.first(std::min(packed.size(), size_t{1} << 30));  // avail_in has 32 bits
      z.next_in = reinterpret_cast<Bytef*>(const_cast<std::byte*>(part.data()));
      z.avail_in = static_cast<uInt>(part.size());
      packed = packed.subspan(part.size());
    }
    z.next_out = reinterpret_cast<Bytef*>(buffer.data());
    z.avail_out = static_cast<uInt>(buffer.size());
    result = inflate(&z, Z_NO_FLUSH);
    if (result != Z_OK && result != Z_STREAM_END) in.fail("has damaged compressed data");
    if (!out.feed(Bytes(buffer).first(buffer.size() - z.avail_out))) in.fail("has more data than its directory says");
  }
}

}  // namespace

void unzip_member(Bytes archive, const std::string& name, std::string_view member, uint64_t max_size,
                  const std::function<void(Bytes)>& sink) {
  Reader in(archive, name);
  std::optional<Entry> entry = find_entry(in, member);
  if (!entry) throw Error(ErrorKind::NotFound, fmt::format("the zip archive {} has no member {}", name, member));
  if (entry->flags & 1) in.fail("is encrypted, which is not supported", ErrorKind::Unsupported);
  if (entry->packed_size == kInZip64 || entry->size == kInZip64 || entry->local_offset == kInZip64) {
    in.fail("is in Zip64 form, which is not supported", ErrorKind::Unsupported);
  }
  if (entry->size > max_size) {
    throw Error(ErrorKind::ResourceExhausted,
                fmt::format("{} in the zip archive {} has {} bytes; at most {} are unpacked", member, name, entry->size,
                            max_size));
  }
  uint64_t local = entry->local_offset;
  if (in.u32(local) != kLocalMagic) in.fail("has a damaged local header");
  uint64_t data = local + kLocalSize + in.u16(local + 26) + in.u16(local + 28);
  Bytes packed = in.part(data, entry->packed_size);

  Checked out{.sink = sink, .expected = entry->size};
  switch (entry->method) {
    case 0:
      if (!out.feed(packed)) in.fail("has more data than its directory says");
      break;
    case 8:
      inflate_to(packed, out, in);
      break;
    default:
      throw Error(ErrorKind::Unsupported,
                  fmt::format("{} in the zip archive {} is packed by method {}; 0 (stored) and 8 "
                              "(deflated) are supported",
                              member, name, entry->method));
  }
  if (out.fed != entry->size) in.fail("has less data than its directory says");
  if (out.crc != entry->crc) in.fail("has damaged data: its CRC-32 differs");
}

}  // namespace sgl::hub
