#include "checkpoint/rope_json.h"

#include <cmath>
#include <string_view>
#include <utility>
#include <vector>

#include <fmt/format.h>

#include "sgl/error.h"

namespace sgl {

using nlohmann::json;
using Scaling = RopeConfig::Scaling;

namespace {

Scaling scaling_of(const ConfigFields& r) {
  // transformers 4 writes "type" in old files, "rope_type" in newer ones, or both.
  const char* key = r.is_set("rope_type") ? "rope_type" : "type";
  const std::string type = r.text(key, "default");
  constexpr std::pair<std::string_view, Scaling> types[] = {
      {"default", Scaling::None},  {"linear", Scaling::Linear}, {"dynamic", Scaling::Dynamic},
      {"llama3", Scaling::Llama3}, {"yarn", Scaling::Yarn},     {"longrope", Scaling::LongRope},
      {"su", Scaling::LongRope}};
  for (const auto& [spelling, scaling] : types) {
    if (type == spelling) return scaling;
  }
  throw Error(ErrorKind::Unsupported, fmt::format("{}: {} {} is not supported; supported are default, linear, dynamic, "
                                                  "llama3, yarn, longrope",
                                                  r.what(), key, type));
}

std::vector<float> factors(const ConfigFields& r, const char* key, int pairs) {
  const json* value = r.find(key);
  if (value == nullptr || !value->is_array() || value->size() != static_cast<size_t>(pairs)) {
    r.fail(key, fmt::format("must be an array of {} numbers, one for each pair of rotary dimensions", pairs));
  }
  std::vector<float> result;
  for (const json& x : *value) {
    if (!x.is_number() || !(x.get<double>() > 0)) r.fail(key, "must be positive numbers");
    result.push_back(x.get<float>());
  }
  return result;
}

double positive(const ConfigFields& r, const char* key, double absent) {
  const double x = r.number(key, absent);
  if (!(x > 0)) r.fail(key, "must be a positive number");
  return x;
}

// `r` holds the scaling; `f`, the whole config, holds what older files keep beside it.
void read_scaling(const ConfigFields& r, const ConfigFields& f, const ModelConfig& c, RopeConfig& rope) {
  rope.scaling = scaling_of(r);
  if (rope.scaling == Scaling::None) return;
  const char* original = "original_max_position_embeddings";
  const int outer_original =
      rope.scaling == Scaling::Dynamic ? c.context_length : f.integer(original, c.context_length, 1);
  rope.original_context = r.integer(original, outer_original, 1);
  if (rope.scaling == Scaling::Dynamic) rope.original_context = c.context_length;
  if (rope.scaling == Scaling::Linear) rope.original_context = 0;
  const bool by_ratio = (rope.scaling == Scaling::Yarn || rope.scaling == Scaling::LongRope) && !r.is_set("factor");
  rope.factor = by_ratio ? static_cast<double>(c.context_length) / rope.original_context : positive(r, "factor", 0);
  if (r.is_set("attention_factor")) rope.attention_factor = positive(r, "attention_factor", 0);

  switch (rope.scaling) {
    case Scaling::None:
    case Scaling::Linear:
    case Scaling::Dynamic:
      break;
    case Scaling::Llama3:
      rope.low_freq_factor = positive(r, "low_freq_factor", 1);
      rope.high_freq_factor = positive(r, "high_freq_factor", 4);
      if (rope.high_freq_factor <= rope.low_freq_factor) r.fail("high_freq_factor", "must be above low_freq_factor");
      break;
    case Scaling::Yarn:
      rope.beta_fast = positive(r, "beta_fast", 32);
      rope.beta_slow = positive(r, "beta_slow", 1);
      rope.mscale = r.number("mscale", 0);
      rope.mscale_all_dim = r.number("mscale_all_dim", 0);
      if (!r.boolean("truncate", true)) {
        throw Error(ErrorKind::Unsupported, r.what() + ": truncate false is not supported");
      }
      break;
    case Scaling::LongRope:
      rope.short_factor = factors(r, "short_factor", rope.rotary_dim / 2);
      rope.long_factor = factors(r, "long_factor", rope.rotary_dim / 2);
      break;
  }
}

const json kEmpty = json::object();

// The part of the config that holds the rope settings of `layer_type`; it may be empty.
ConfigFields rope_part(const ConfigFields& f, const char* layer_type) {
  if (!f.is_set("rope_parameters")) {
    return f.is_set("rope_scaling") ? ConfigFields(*f.find("rope_scaling"), f.what() + ": rope_scaling")
                                    : ConfigFields(kEmpty, f.what() + ": rope_scaling");
  }
  const ConfigFields all(*f.find("rope_parameters"), f.what() + ": rope_parameters");
  return all.is_set(layer_type) ? ConfigFields(*all.find(layer_type), all.what() + "." + layer_type) : all;
}

}  // namespace

void read_rope(const ConfigFields& f, double default_theta, ModelConfig& c) {
  const ConfigFields r = rope_part(f, "full_attention");
  RopeConfig rope;
  rope.theta = positive(r, "rope_theta", positive(f, "rope_theta", default_theta));
  const double partial = positive(r, "partial_rotary_factor", positive(f, "partial_rotary_factor", 1));
  rope.rotary_dim = partial <= 1 ? static_cast<int>(c.head_dim * partial) : 0;
  if (rope.rotary_dim < 2 || rope.rotary_dim % 2 != 0) {
    throw Error(ErrorKind::CorruptFile,
                fmt::format("{}: partial_rotary_factor {} of a head of {} dimensions must be an "
                            "even number of at least 2 and at most that",
                            f.what(), partial, c.head_dim));
  }
  read_scaling(r, f, c, rope);
  c.rope = rope;
}

void read_local_rope(const ConfigFields& f, ModelConfig& c) {
  RopeConfig rope;
  rope.theta = positive(f, "rope_local_base_freq", 10000);
  rope.rotary_dim = c.rope.rotary_dim;
  if (f.is_set("rope_parameters") && f.find("rope_parameters")->contains("sliding_attention")) {
    const ConfigFields r = rope_part(f, "sliding_attention");
    rope.theta = positive(r, "rope_theta", rope.theta);
    read_scaling(r, f, c, rope);
  }
  c.rope_local = rope;
}

}  // namespace sgl
