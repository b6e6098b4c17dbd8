#include "nn/loader.h"

#include <algorithm>
#include <cstring>
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

int64_t Loader::share(int64_t n, const char* what) const {
  if (n % num_ranks() == 0) return n / num_ranks();
  throw Error(ErrorKind::Unsupported, fmt::format("--tp-size {}: this model's {} {} cannot be shared out equally; take "
                                                  "a --tp-size that divides them",
                                                  num_ranks(), n, what));
}

// Puts this rank's share of a matrix, whose outputs are `outs` one after the other, behind `parts`.
void Loader::add_share(std::vector<Tensor>& parts, std::vector<Buffer>& keep, const Tensor& matrix,
                       std::span<const int64_t> outs, Split split) const {
  if (num_ranks() == 1 || split == Split::None) {
    parts.push_back(matrix);
  } else if (split == Split::Outputs) {
    int64_t begin = 0;
    for (const int64_t out : outs) {
      const int64_t own = share(out, "outputs of a matrix");
      parts.push_back(matrix.slice_rows(begin + own * rank(), own));
      begin += out;
    }
  } else {
    const int64_t own = share(matrix.cols(), "inputs of a matrix"), all = row_bytes(matrix.dtype, matrix.cols());
    // Blocks that would be cut become numbers.
    const bool cut = own % block_layout(matrix.dtype).elements != 0;
    const DType type = cut ? DType::F32 : matrix.dtype;
    const int64_t bytes = row_bytes(type, own);
    std::vector<float> row(cut ? static_cast<size_t>(matrix.cols()) : 0);
    keep.push_back(allocate_host(static_cast<size_t>(bytes * matrix.rows())));
    for (int64_t i = 0; i < matrix.rows(); ++i) {
      const std::byte* from = matrix.data + i * all;
      if (cut) {
        dequantize_row(matrix.dtype, from, row.data(), matrix.cols());
        from = reinterpret_cast<const std::byte*>(row.data());
      }
      std::memcpy(keep.back().data() + i * bytes, from + rank() * bytes, static_cast<size_t>(bytes));
    }
    parts.emplace_back(keep.back().data(), type, Shape{matrix.rows(), own});
  }
}

Weight Loader::matrix(const std::vector<std::string>& names, int64_t in, const std::vector<int64_t>& outs,
                      MatrixLayout layout, MatrixUse use, Split split) const {
  std::vector<Tensor> parts;
  std::vector<Buffer> keep;
  std::vector<const FileTensor*> files;
  for (size_t i = 0; i < names.size(); ++i) {
    const auto own = names.size() == 1 ? std::span(outs) : std::span(outs).subspan(i, 1);
    const int64_t out = std::accumulate(own.begin(), own.end(), int64_t{0});
    Tensor matrix;
    if (layout == MatrixLayout::InOut) {
      keep.push_back(transposed(plain(require(names[i], Shape{in, out}))));
      matrix = Tensor(keep.back().data(), DType::F32, Shape{out, in});
    } else {
      const FileTensor& t = require(names[i], Shape{out, in});
      files.push_back(&t);
      if (t.packed != nullptr) {
        keep.push_back(unpack(t));
        matrix = Tensor(keep.back().data(), t.dtype, t.shape);
      } else {
        matrix = view(t);
      }
    }
    try {
      add_share(parts, keep, matrix, own, split);
    } catch (const Error& e) {
      throw Error(e.kind(), fmt::format("{}: {}", full(names[i]), e.what()));
    }
  }
  Weight w;
  try {
    w = use == MatrixUse::Head ? backend_->prepare_head(parts) : backend_->prepare(parts);
  } catch (const Error& e) {
    throw Error(e.kind(), fmt::format("{}: {}", full(names[0]), e.what()));
  }
  const bool copied =
      std::all_of(w.parts.begin(), w.parts.end(), [](const Weight::Part& p) { return p.source.empty(); });
  if (copied) {
    for (const FileTensor* file : files) checkpoint_->release(*file);
  } else {
    w.keep = std::move(keep);
  }
  return w;
}

Param Loader::merged_vector(const std::vector<std::string>& names, const std::vector<int64_t>& outs,
                            Split split) const {
  const std::vector<float> values = merged_values(names, outs, split);
  return values.empty() ? Param{} : on_device(values);
}

std::vector<float> Loader::merged_values(const std::vector<std::string>& names, const std::vector<int64_t>& outs,
                                         Split split) const {
  if (std::none_of(names.begin(), names.end(), [&](const std::string& n) { return has(n); })) return {};
  std::vector<float> values(static_cast<size_t>(std::accumulate(outs.begin(), outs.end(), int64_t{0})));
  float* to = values.data();
  for (size_t i = 0; i < names.size(); ++i) {
    const auto n = names.size() == 1 ? static_cast<int64_t>(values.size()) : outs[i];
    if (has(names[i])) {
      const FileTensor& t = plain(require(names[i], Shape{n}));
      dequantize_row(t.dtype, t.data.data(), to, n);
    }
    to += n;
  }
  if (num_ranks() > 1 && split == Split::Inputs && rank() > 0) return {};
  if (num_ranks() > 1 && split == Split::Outputs) {
    std::vector<float> own;
    const float* from = values.data();
    for (const int64_t out : outs) {
      const int64_t n = share(out, "outputs of a matrix");
      own.insert(own.end(), from + n * rank(), from + n * (rank() + 1));
      from += out;
    }
    values = std::move(own);
  }
  return values;
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
