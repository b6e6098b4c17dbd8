#include "nn/loader.h"

#include <algorithm>
#include <numeric>

#include <fmt/format.h>

#include "checkpoint/packed_weights.h"
#include "sgl/error.h"
#include "tensor/block_formats.h"

namespace sgl {
namespace {

// Tensors that some publishers ship although nothing needs them: tables that are computed, masks, a tied head.
bool is_redundant(std::string_view name, const ModelConfig& config) {
  auto ends = [&](std::string_view s) { return name.ends_with(s); };
  // Scales of activations and of a KV cache, which were calibrated; here each row, or nothing, is quantized by its own.
  if (config.packed) {
    for (const char* scale : {".input_scale", ".input_scale_ub", ".activation_scale", ".act_scale", ".output_scale",
                              ".k_scale", ".v_scale", ".q_scale", ".kv_scale"}) {
      if (ends(scale)) return true;
    }
  }
  return ends("rotary_emb.inv_freq") || ends(".attn.bias") || ends(".attn.masked_bias") || ends("rope_freqs.weight") ||
         ends("rope_factors_long.weight") || ends("rope_factors_short.weight") ||
         (config.tie_word_embeddings && ends("lm_head.weight"));
}

// [in, out] in any plain type → [out, in] in float32.
Buffer transposed(const FileTensor& t) {
  const int64_t in = t.shape[0], out = t.shape[1];
  Buffer result = allocate_host(static_cast<size_t>(in * out) * sizeof(float));
  auto* to = reinterpret_cast<float*>(result.data());
  std::vector<float> row(static_cast<size_t>(out));
  for (int64_t i = 0; i < in; ++i) {
    dequantize_row(t.dtype, t.data.data() + i * row_bytes(t.dtype, out), row.data(), out);
    for (int64_t o = 0; o < out; ++o) to[o * in + i] = row[static_cast<size_t>(o)];
  }
  return result;
}

Tensor view(const FileTensor& t) { return Tensor(const_cast<std::byte*>(t.data.data()), t.dtype, t.shape); }

// For what is read as it stands in the file.
const FileTensor& plain(const FileTensor& t) {
  if (t.packed != nullptr) {
    throw Error(ErrorKind::Unsupported, fmt::format("{} is quantized in this checkpoint; only matrices of linear "
                                                    "layers, stored [out, in], may be",
                                                    t.name));
  }
  return t;
}

}  // namespace

Loader::Loader(const Checkpoint& checkpoint, Backend& backend)
    : checkpoint_(&checkpoint), backend_(&backend), used_(std::make_shared<Used>()) {}

Loader Loader::operator/(std::string_view name) const {
  Loader below = *this;
  if (!name.empty()) below.prefix_ += std::string(name) + ".";
  return below;
}

std::string Loader::full(std::string_view name) const { return prefix_ + std::string(name); }

bool Loader::has(std::string_view name) const { return checkpoint_->find(full(name)) != nullptr; }

const FileTensor& Loader::require(std::string_view name, const Shape& shape) const {
  const std::string path = full(name);
  const FileTensor* t = checkpoint_->find(path);
  if (t == nullptr) {
    throw Error(ErrorKind::CorruptFile, fmt::format("the checkpoint has no tensor {}; the model needs it with shape {}",
                                                    path, to_string(shape)));
  }
  if (!(t->shape == shape)) {
    throw Error(ErrorKind::CorruptFile,
                fmt::format("tensor {} has shape {}; the config says {}", path, to_string(t->shape), to_string(shape)));
  }
  if (used_->names.insert(path).second) {
    used_->bytes += t->bytes();
    used_->elements += t->shape.elements();
  }
  return *t;
}

Param Loader::on_device(const std::vector<float>& values) const {
  Param p;
  p.memory = backend_->allocate(values.size() * sizeof(float));
  p.tensor = Tensor(p.memory.data(), DType::F32, Shape{static_cast<int64_t>(values.size())});
  backend_->upload(p.memory.data(), values.data(), values.size() * sizeof(float));
  return p;
}

Param Loader::vector(std::string_view name, int64_t n, float add) const {
  const FileTensor& t = plain(require(name, Shape{n}));
  std::vector<float> values(static_cast<size_t>(n));
  dequantize_row(t.dtype, t.data.data(), values.data(), n);
  if (add != 0.0F) {
    for (float& x : values) x += add;
  }
  return on_device(values);
}

Weight Loader::matrix(const std::vector<std::string>& names, int64_t in, const std::vector<int64_t>& outs,
                      MatrixLayout layout, MatrixUse use) const {
  std::vector<Tensor> parts;
  std::vector<Buffer> keep;
  std::vector<const FileTensor*> files;
  for (size_t i = 0; i < names.size(); ++i) {
    if (layout == MatrixLayout::InOut) {
      keep.push_back(transposed(plain(require(names[i], Shape{in, outs[i]}))));
      parts.emplace_back(keep.back().data(), DType::F32, Shape{outs[i], in});
      files.push_back(nullptr);
      continue;
    }
    const FileTensor& t = require(names[i], Shape{outs[i], in});
    files.push_back(&t);
    if (t.packed != nullptr) {
      keep.push_back(unpack(t));
      parts.emplace_back(keep.back().data(), t.dtype, t.shape);
    } else {
      parts.push_back(view(t));
    }
  }
  Weight w;
  try {
    w = use == MatrixUse::Head ? backend_->prepare_head(parts) : backend_->prepare(parts);
  } catch (const Error& e) {
    throw Error(e.kind(), fmt::format("{}: {}", full(names[0]), e.what()));
  }
  bool copied = true;
  for (size_t i = 0; i < w.parts.size(); ++i) {
    copied = copied && w.parts[i].source.empty();
    if (w.parts[i].source.empty() && files[i] != nullptr) checkpoint_->release(*files[i]);
  }
  if (!copied) w.keep = std::move(keep);
  return w;
}

Param Loader::merged_vector(const std::vector<std::string>& names, const std::vector<int64_t>& outs) const {
  if (std::none_of(names.begin(), names.end(), [&](const std::string& n) { return has(n); })) return {};
  std::vector<float> values(static_cast<size_t>(std::accumulate(outs.begin(), outs.end(), int64_t{0})));
  float* to = values.data();
  for (size_t i = 0; i < names.size(); ++i) {
    if (has(names[i])) {
      const FileTensor& t = plain(require(names[i], Shape{outs[i]}));
      dequantize_row(t.dtype, t.data.data(), to, outs[i]);
    }
    to += outs[i];
  }
  return on_device(values);
}

Param Loader::table(std::string_view name, int64_t rows, int64_t cols) const {
  return backend_->prepare_table(view(plain(require(name, Shape{rows, cols}))));
}

void Loader::check_all_used() const {
  std::string extra;
  int count = 0;
  for (std::string_view name : checkpoint_->names()) {
    if (used_->names.count(std::string(name)) != 0 || is_redundant(name, config())) continue;
    if (++count <= 3) extra += fmt::format("{}{}", count > 1 ? ", " : "", name);
  }
  if (count > 0) {
    throw Error(
        ErrorKind::CorruptFile,
        fmt::format(
            "the checkpoint has {} tensor{} that {} does not have: {}{}; the config and the weights do not belong "
            "together",
            count, count > 1 ? "s" : "", config().architecture, extra, count > 3 ? ", …" : ""));
  }
}

}  // namespace sgl
