#include "nn/rope.h"

#include <algorithm>
#include <cmath>
#include <numbers>

namespace sgl {
namespace {

// Llama 3.1: long wavelengths are stretched by `factor`, short ones stay, those between are blended.
double llama3(double freq, const RopeConfig& c) {
  const double wavelength = 2 * std::numbers::pi / freq;
  const double low = c.original_context / c.low_freq_factor, high = c.original_context / c.high_freq_factor;
  if (wavelength < high) return freq;
  if (wavelength > low) return freq / c.factor;
  const double blend = (c.original_context / wavelength - c.low_freq_factor) / (c.high_freq_factor - c.low_freq_factor);
  return (1 - blend) * freq / c.factor + blend * freq;
}

// YaRN (Peng et al. 2023, §3.2): dimensions that turn often extrapolate, those that turn seldom interpolate.
void yarn(std::vector<double>& freq, const RopeConfig& c) {
  const double dim = c.rotary_dim;
  auto correction_dim = [&](double rotations) {
    return dim * std::log(c.original_context / (rotations * 2 * std::numbers::pi)) / (2 * std::log(c.theta));
  };
  const double low = std::max(std::floor(correction_dim(c.beta_fast)), 0.0);
  double high = std::min(std::ceil(correction_dim(c.beta_slow)), dim - 1);
  if (low == high) high += 0.001;
  for (size_t i = 0; i < freq.size(); ++i) {
    const double ramp = std::clamp((static_cast<double>(i) - low) / (high - low), 0.0, 1.0);
    freq[i] = freq[i] / c.factor * ramp + freq[i] * (1 - ramp);
  }
}

double yarn_mscale(double factor, double mscale) { return factor <= 1 ? 1.0 : 0.1 * mscale * std::log(factor) + 1.0; }

}  // namespace

Rope::Rope(const RopeConfig& c, int context_length) {
  const size_t pairs = static_cast<size_t>(c.rotary_dim / 2);
  double theta = c.theta;
  if (c.scaling == RopeConfig::Scaling::Dynamic && c.original_context > 0 && context_length > c.original_context) {
    const double stretch = c.factor * context_length / c.original_context - (c.factor - 1);
    theta *= std::pow(stretch, static_cast<double>(c.rotary_dim) / (c.rotary_dim - 2));
  }
  std::vector<double> freq(pairs);
  for (size_t i = 0; i < pairs; ++i) freq[i] = std::pow(theta, -2.0 * static_cast<double>(i) / c.rotary_dim);

  switch (c.scaling) {
    case RopeConfig::Scaling::None:
    case RopeConfig::Scaling::Dynamic:
      break;
    case RopeConfig::Scaling::Linear:
      for (double& f : freq) f /= c.factor;
      break;
    case RopeConfig::Scaling::Llama3:
      for (double& f : freq) f = llama3(f, c);
      break;
    case RopeConfig::Scaling::Yarn:
      yarn(freq, c);
      if (c.attention_factor) {
        attention_factor_ = static_cast<float>(*c.attention_factor);
      } else if (c.mscale != 0 && c.mscale_all_dim != 0) {
        attention_factor_ =
            static_cast<float>(yarn_mscale(c.factor, c.mscale) / yarn_mscale(c.factor, c.mscale_all_dim));
      } else {
        attention_factor_ = static_cast<float>(yarn_mscale(c.factor, 1.0));
      }
      break;
    case RopeConfig::Scaling::LongRope: {
      const std::vector<float>& factors = context_length > c.original_context ? c.long_factor : c.short_factor;
      for (size_t i = 0; i < pairs && i < factors.size(); ++i) freq[i] /= static_cast<double>(factors[i]);
      if (c.attention_factor) {
        attention_factor_ = static_cast<float>(*c.attention_factor);
      } else if (c.factor > 1) {
        attention_factor_ = static_cast<float>(std::sqrt(1 + std::log(c.factor) / std::log(c.original_context)));
      }
      break;
    }
  }
  for (size_t i = 0; i < pairs && i < c.freq_factors.size(); ++i) freq[i] /= static_cast<double>(c.freq_factors[i]);
  inv_freq_.assign(freq.begin(), freq.end());
}

}  // namespace sgl
