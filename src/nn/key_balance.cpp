#include "nn/key_balance.h"

#include <algorithm>
#include <cmath>

namespace sgl {
namespace {

int partner_of(int channel, const HeadShape& s) {
  if (channel >= s.rotary_dim) return channel;
  if (s.interleaved) return channel ^ 1;
  return (channel + s.rotary_dim / 2) % s.rotary_dim;
}

}  // namespace

std::vector<float> balance_keys(std::span<const float> key_bias, const HeadShape& s) {
  const int group = s.num_heads / s.num_kv_heads;
  std::vector<float> factors(static_cast<size_t>(s.num_heads + s.num_kv_heads) * static_cast<size_t>(s.head_dim));
  auto factor = [&](int head, int channel) -> float& {
    return factors[static_cast<size_t>(head) * static_cast<size_t>(s.head_dim) + static_cast<size_t>(channel)];
  };
  bool all_one = true;
  for (int kv_head = 0; kv_head < s.num_kv_heads; ++kv_head) {
    const auto bias = key_bias.subspan(static_cast<size_t>(kv_head) * static_cast<size_t>(s.head_dim));
    for (int c = 0; c < s.head_dim; ++c) {
      const float largest =
          std::max(std::fabs(bias[static_cast<size_t>(c)]), std::fabs(bias[static_cast<size_t>(partner_of(c, s))]));
      // Below 1 what a key is without its bias decides.
      const float root = std::exp2(std::round(0.5F * std::log2(std::max(largest, 1.0F))));
      all_one &= root == 1.0F;
      for (int h = 0; h < group; ++h) factor(kv_head * group + h, c) = root;
      factor(s.num_heads + kv_head, c) = 1.0F / root;
    }
  }
  if (all_one) factors.clear();
  return factors;
}

}  // namespace sgl
