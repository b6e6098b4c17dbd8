#include "text/vocab.h"

#include <algorithm>
#include <bit>
#include <limits>

#include <fmt/format.h>

#include <sgl/error.h>

namespace sgl {

void Vocab::reserve(size_t num_tokens, size_t num_bytes) {
  reserved_ = num_tokens;
  pool_.reserve(num_bytes);
  spans_.reserve(num_tokens);
  slots_.assign(std::bit_ceil(std::max<size_t>(16, num_tokens * 2)), Slot{0, -1});
  mask_ = slots_.size() - 1;
}

void Vocab::add(std::string_view spelling, int64_t id) {
  int64_t limit = static_cast<int64_t>(reserved_) * 4 + (1 << 20);
  if (id < 0 || id >= limit) {
    throw Error(ErrorKind::CorruptFile,
                fmt::format("token '{}' has the id {}, expected 0 to {}", spelling.substr(0, 80), id, limit - 1));
  }
  if (pool_.size() + spelling.size() > std::numeric_limits<uint32_t>::max()) {
    throw Error(ErrorKind::CorruptFile, "the vocabulary's spellings are more than 4 GiB together");
  }
  auto index = static_cast<size_t>(id);
  if (index >= spans_.size()) spans_.resize(index + 1);
  spans_[index] = {static_cast<uint32_t>(pool_.size()), static_cast<uint32_t>(spelling.size())};
  pool_ += spelling;
  longest_ = std::max(longest_, spelling.size());

  if ((used_ + 1) * 2 > slots_.size()) grow();
  uint64_t hash = hash_bytes(spelling);
  auto tag = static_cast<uint32_t>(hash >> 32);
  for (uint64_t i = hash & mask_;; i = (i + 1) & mask_) {
    Slot& slot = slots_[i];
    if (slot.id < 0) {
      slot = {tag, static_cast<int32_t>(id)};
      ++used_;
      return;
    }
    if (slot.tag == tag && this->spelling(slot.id) == spelling) {
      slot.id = static_cast<int32_t>(id);
      return;
    }
  }
}

int32_t Vocab::find_hashed(std::string_view spelling, uint64_t hash) const {
  if (slots_.empty()) return -1;
  auto tag = static_cast<uint32_t>(hash >> 32);
  for (uint64_t i = hash & mask_;; i = (i + 1) & mask_) {
    const Slot& slot = slots_[i];
    if (slot.id < 0) return -1;
    if (slot.tag == tag && this->spelling(slot.id) == spelling) return slot.id;
  }
}

void Vocab::grow() {
  std::vector<Slot> old(slots_.empty() ? 16 : slots_.size() * 2, Slot{0, -1});
  old.swap(slots_);
  mask_ = slots_.size() - 1;
  for (const Slot& slot : old) {
    if (slot.id < 0) continue;
    uint64_t i = hash_bytes(spelling(slot.id)) & mask_;
    while (slots_[i].id >= 0) i = (i + 1) & mask_;
    slots_[i] = slot;
  }
}

}  // namespace sgl
