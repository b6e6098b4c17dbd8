#include "checkpoint/quantization_config.h"

#include <algorithm>
#include <string>

#include <fmt/format.h>

#include "sgl/error.h"

namespace sgl {
namespace {

using nlohmann::json;

[[noreturn]] void refuse_quantization(const ConfigFields& q, const std::string& what) {
  throw Error(
      ErrorKind::Unsupported,
      fmt::format(
          "{}: {} is not supported; supported are awq (gemm), gptq and compressed-tensors' pack-quantized with 4 "
          "bits, the last two also with 8 that are symmetric, and fp8, fbgemm_fp8, modelopt's FP8 and "
          "compressed-tensors' float-quantized. Take such a checkpoint, the unquantized one, or a GGUF file",
          q.what(), what));
}

int read_bits(const ConfigFields& q, const char* key, int absent, bool eight) {
  const int bits = q.integer(key, absent);
  if (bits != 4 && !(eight && bits == 8)) refuse_quantization(q, fmt::format("{} = {}", key, bits));
  return bits;
}

// Matrices that are quantized otherwise than the rest (GPTQModel): patterns of names with settings of their own. Those
// with "-:" are not quantized, which their tensors say themselves.
void refuse_exceptions(const ConfigFields& q) {
  if (!q.is_set("dynamic") || !q.find("dynamic")->is_object()) return;
  for (const auto& [pattern, settings] : q.find("dynamic")->items()) {
    if (pattern.starts_with("-:") || !settings.is_object()) continue;
    const ConfigFields own(settings, fmt::format("{}: dynamic: {}", q.what(), pattern));
    for (const char* key : {"bits", "group_size"}) {
      const int usual = q.integer(key, 4, -1);
      if (own.integer(key, usual, -1) != usual) refuse_quantization(own, fmt::format("{} of its own", key));
    }
  }
}

// Rotations of activations while the model runs (SpinQuant, QuIP); those that are fused into weights need nothing.
void refuse_rotations(const ConfigFields& q) {
  if (!q.is_set("transform_config") || !q.find("transform_config")->is_object()) return;
  const json& t = *q.find("transform_config");
  if (!t.contains("config_groups") || !t["config_groups"].is_object()) return;
  for (const auto& [name, scheme] : t["config_groups"].items()) {
    if (!scheme.is_object() || !scheme.contains("apply") || !scheme["apply"].is_array()) continue;
    for (const json& apply : scheme["apply"]) {
      const bool said = apply.is_object() && apply.contains("location") && apply["location"].is_string();
      const std::string where = said ? apply["location"].get<std::string>() : "";
      if (where != "weight_input" && where != "weight_output") {
        refuse_quantization(q, fmt::format("a transform_config that is applied at \"{}\"", where));
      }
    }
  }
}

// Columns that share a scale; −1 stands for all.
int read_group_size(const ConfigFields& q, const char* key, int absent) {
  return std::max(q.integer(key, absent, -1), 0);
}

// Rows and columns that share a scale, as [128, 128].
void read_block(const ConfigFields& q, const char* key, PackedWeights& p) {
  if (!q.is_set(key)) return;
  const json& block = *q.find(key);
  auto is_size = [](const json& n) { return n.is_number_integer() && n > 0 && n <= 1 << 20; };
  if (!block.is_array() || block.size() != 2 || !is_size(block[0]) || !is_size(block[1])) {
    q.fail(key, "must be two numbers, of rows and of columns");
  }
  p.block_rows = block[0].get<int>();
  p.block_columns = block[1].get<int>();
}

// The weights of compressed-tensors' groups of layers; all must be quantized alike.
void read_compressed_groups(const ConfigFields& q, PackedWeights& p) {
  const std::string format = q.text("format", "");
  const bool fp8 = format == "float-quantized" || format == "naive-quantized";
  if (!fp8 && format != "pack-quantized") refuse_quantization(q, fmt::format("format {}", format));
  refuse_rotations(q);
  if (fp8) p.method = PackedWeights::Method::Fp8;
  if (!q.is_set("config_groups") || !q.find("config_groups")->is_object() || q.find("config_groups")->empty()) {
    q.fail("config_groups", "must be an object with at least one group");
  }
  bool first = true;
  for (const auto& [key, group] : q.find("config_groups")->items()) {
    const ConfigFields g(group, fmt::format("{}: config_groups: {}", q.what(), key));
    if (!g.is_set("weights")) g.fail("weights", "must be an object");
    const ConfigFields w(*g.find("weights"), g.what() + ": weights");
    const std::string type = w.text("type", "int");
    if (type != (fp8 ? "float" : "int")) refuse_quantization(w, fmt::format("type {} of format {}", type, format));
    if (fp8) {
      if (const int bits = w.integer("num_bits", 8); bits != 8)
        refuse_quantization(w, fmt::format("num_bits = {}", bits));
      read_block(w, "block_structure", p);
      continue;
    }
    if (g.is_set("input_activations")) refuse_quantization(g, "input_activations");
    const int bits = read_bits(w, "num_bits", 8, true);
    const int size = read_group_size(w, "group_size", -1);
    if (!first && (size != p.group_size || bits != p.bits)) {
      refuse_quantization(w, "num_bits or group_size that differ between groups");
    }
    p.group_size = size;
    p.bits = bits;
    first = false;
  }
}

}  // namespace

std::optional<PackedWeights> read_quantization(const ConfigFields& f) {
  if (!f.is_set("quantization_config")) return std::nullopt;
  const ConfigFields q(*f.find("quantization_config"), f.what() + ": quantization_config");
  const std::string method = q.text("quant_method", "(unnamed)");
  PackedWeights p;
  if (method == "awq") {
    if (const std::string version = q.text("version", "gemm"); version != "gemm" && version != "GEMM") {
      refuse_quantization(q, "version " + version);
    }
    read_bits(q, q.has("w_bit") ? "w_bit" : "bits", 4, false);
    p.group_size = read_group_size(q, q.has("q_group_size") ? "q_group_size" : "group_size", 128);
  } else if (method == "gptq") {
    p.method = PackedWeights::Method::Gptq;
    p.bits = read_bits(q, "bits", 4, true);
    if (q.boolean("is_marlin_format", false)) refuse_quantization(q, "is_marlin_format");
    refuse_exceptions(q);
    p.group_size = read_group_size(q, "group_size", 128);
    const std::string format = q.text("checkpoint_format", "gptq");
    if (format != "gptq" && format != "gptq_v2") refuse_quantization(q, "checkpoint_format " + format);
    p.zeros_less_one = format == "gptq";
  } else if (method == "compressed-tensors") {
    p.method = PackedWeights::Method::CompressedTensors;
    read_compressed_groups(q, p);
  } else if (method == "fp8" || method == "fbgemm_fp8" || (method == "modelopt" && q.text("quant_algo", "") == "FP8")) {
    p.method = PackedWeights::Method::Fp8;
    read_block(q, "weight_block_size", p);
  } else {
    refuse_quantization(q, "quant_method " + method);
  }
  return p;
}

}  // namespace sgl
