#include "text/vocab.h"

#include <algorithm>
#include <array>
#include <bit>
#include <limits>

#include <fmt/format.h>

#include <sgl/error.h>

namespace sgl {
namespace {

constexpr size_t kInFlight = 32;  // look-ups whose memory is being fetched at the same time

uint32_t tag_of(uint64_t hash) { return static_cast<uint32_t>(hash >> 32); }

}  // namespace

void Vocab::reserve(size_t num_tokens, size_t num_bytes) {
  reserved_ = num_tokens;
  pool_.reserve(num_bytes);
  spans_.reserve(num_tokens);
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
}

void Vocab::finish() {
  slots_.assign(std::bit_ceil(std::max<size_t>(2, spans_.size() * 2)), Slot{0, -1});
  mask_ = slots_.size() - 1;
  std::array<uint64_t, kInFlight> hashes;
  for (size_t first = 0; first < spans_.size(); first += kInFlight) {
    size_t n = std::min(kInFlight, spans_.size() - first);
    for (size_t i = 0; i < n; ++i) {
      hashes[i] = hash_bytes(spelling(static_cast<int32_t>(first + i)));
      __builtin_prefetch(&slots_[first_slot(hashes[i])], 1);
    }
    for (size_t i = 0; i < n; ++i) {
      auto id = static_cast<int32_t>(first + i);
      std::string_view text = spelling(id);
      if (text.empty()) continue;  // a hole
      size_t at = first_slot(hashes[i]);
      while (slots_[at].id >= 0 && !(slots_[at].tag == tag_of(hashes[i]) && spelling(slots_[at].id) == text)) {
        at = (at + 1) & mask_;
      }
      slots_[at] = {tag_of(hashes[i]), id};
    }
  }
}

int32_t Vocab::find_hashed(std::string_view spelling, uint64_t hash) const {
  for (size_t at = first_slot(hash);; at = (at + 1) & mask_) {
    const Slot& slot = slots_[at];
    if (slot.id < 0) return -1;
    if (slot.tag == tag_of(hash) && this->spelling(slot.id) == spelling) return slot.id;
  }
}

// A look-up reads a slot, then the token's span, then its spelling: each is asked for one round before it is read.
void Vocab::find_many(std::span<const std::string_view> spellings, std::span<int32_t> ids) const {
  std::array<uint64_t, kInFlight> hashes;
  std::array<int32_t, kInFlight> candidates;
  for (size_t first = 0; first < spellings.size(); first += kInFlight) {
    size_t n = std::min(kInFlight, spellings.size() - first);
    for (size_t i = 0; i < n; ++i) {
      hashes[i] = hash_bytes(spellings[first + i]);
      __builtin_prefetch(&slots_[first_slot(hashes[i])]);
    }
    for (size_t i = 0; i < n; ++i) {
      size_t at = first_slot(hashes[i]);
      while (slots_[at].id >= 0 && slots_[at].tag != tag_of(hashes[i])) at = (at + 1) & mask_;
      candidates[i] = slots_[at].id;
      if (candidates[i] >= 0) __builtin_prefetch(&spans_[static_cast<size_t>(candidates[i])]);
    }
    for (size_t i = 0; i < n; ++i) {
      if (candidates[i] >= 0) __builtin_prefetch(spelling(candidates[i]).data());
    }
    for (size_t i = 0; i < n; ++i) {
      bool hit = candidates[i] < 0 || spelling(candidates[i]) == spellings[first + i];
      ids[first + i] = hit ? candidates[i] : find_hashed(spellings[first + i], hashes[i]);
    }
  }
}

}  // namespace sgl
