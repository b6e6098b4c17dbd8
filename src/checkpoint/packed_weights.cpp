#include "checkpoint/packed_weights.h"

#include <algorithm>
#include <cstring>
#include <string>
#include <unordered_map>
#include <unordered_set>

#include <fmt/format.h>

#include "base/half.h"
#include "sgl/error.h"
#include "tensor/block_formats.h"

namespace sgl {
namespace {

using Method = PackedWeights::Method;

constexpr int64_t kWordCodes = 8;       // of 4 bits
constexpr uint32_t kOnes = 0x11111111;  // what GPTQ's older form takes off a word of zero points
constexpr const char* kFp8Scales[] = {"weight_scale", "weight_scale_inv"};
constexpr int kAwqPlace[8] = {0, 4, 1, 5, 2, 6, 3, 7};  // of an output's code in its word

// What a method calls its tensors.
struct Names {
  const char *codes, *scales, *zeros, *group_of_column;
};
Names names_of(Method m) {
  if (m == Method::CompressedTensors) return {"weight_packed", "weight_scale", "weight_zero_point", "weight_g_idx"};
  return {"qweight", "scales", "qzeros", "g_idx"};
}

// Whether a word has codes of one output, and scales and zero points lie by outputs, too.
bool is_by_rows(Method m) { return m == Method::CompressedTensors; }

const uint32_t* words(const FileTensor& t) { return reinterpret_cast<const uint32_t*>(t.data.data()); }

uint8_t code_of(uint32_t word, int place) { return static_cast<uint8_t>(word >> (4 * place) & 15U); }

// Thirty-two columns of one row, as a block has them.
using Piece = uint8_t[16];

// A PackedMatrix by rows and columns, whichever way round its file has them.
class Reader {
 public:
  Reader(const PackedMatrix& m, int64_t out, int64_t in)
      : m_(m), out_(out), in_(in), groups_(in / m.group_size), scales_(m.scales.data.size() / row_bytes_of(m.scales)) {
    dequantize_row(m.scales.dtype, m.scales.data.data(), scales_.data(), static_cast<int64_t>(scales_.size()));
  }

  float scale(int64_t row, int64_t group) const {
    return scales_[static_cast<size_t>(by_rows() ? row * groups_ + group : group * out_ + row)];
  }
  uint8_t zero(int64_t row, int64_t group) const {
    if (m_.zeros.data.empty()) return 8;
    const uint32_t* z = words(m_.zeros);
    if (by_rows()) return code_of(z[row / 8 * groups_ + group], static_cast<int>(row % 8));
    const int place = m_.how.method == Method::Awq ? kAwqPlace[row % 8] : static_cast<int>(row % 8);
    const uint32_t word = z[group * (out_ / kWordCodes) + row / 8];
    return code_of(m_.how.zeros_less_one ? word + kOnes : word, place);
  }
  int64_t group_of(int64_t column) const {
    if (m_.group_of_column.data.empty()) return column / m_.group_size;
    int32_t group = 0;
    std::memcpy(&group, m_.group_of_column.data.data() + column * 4, 4);
    return group;
  }

  // Columns [32·block, 32·block + 32) of eight rows from `row` on.
  void read(int64_t row, int64_t block, Piece (&to)[8]) const {
    const uint32_t* w = words(m_.codes);
    if (m_.how.method == Method::Awq) {
      uint32_t column[32];
      for (int64_t k = 0; k < 32; ++k) column[k] = w[(32 * block + k) * (out_ / kWordCodes) + row / 8];
      for (int r = 0; r < 8; ++r) {
        const int shift = 4 * kAwqPlace[r];
        for (int i = 0; i < 16; ++i) {
          to[r][i] = static_cast<uint8_t>((column[i] >> shift & 15U) | (column[i + 16] >> shift & 15U) << 4);
        }
      }
      return;
    }
    for (int64_t r = 0; r < 8; ++r) {
      uint32_t four[4];
      for (int64_t i = 0; i < 4; ++i) {
        four[i] = by_rows() ? w[(row + r) * (in_ / kWordCodes) + 4 * block + i] : w[(4 * block + i) * out_ + row + r];
      }
      for (int i = 0; i < 16; ++i) {
        const int shift = 4 * (i % 8);
        to[r][i] = static_cast<uint8_t>((four[i / 8] >> shift & 15U) | (four[i / 8 + 2] >> shift & 15U) << 4);
      }
    }
  }

 private:
  static size_t row_bytes_of(const FileTensor& t) {
    return static_cast<size_t>(std::max<int64_t>(row_bytes(t.dtype, 1), 1));
  }
  bool by_rows() const { return is_by_rows(m_.how.method); }

  const PackedMatrix& m_;
  int64_t out_, in_, groups_;
  std::vector<float> scales_;
};

// to: the first of eight rows. kGroup: of the type, a part of a group of the file.
template <int kGroup>
void unpack_blocks(const Reader& from, int64_t group_size, int64_t row, int64_t in, std::byte* to) {
  using Block = BlockInt4<kGroup>;
  const int64_t blocks = in / kGroup;
  auto* out = reinterpret_cast<Block*>(to);
  Piece pieces[8];
  for (int64_t b = 0; b < blocks; ++b) {
    const int64_t group = b * kGroup / group_size;
    for (int64_t r = 0; r < 8; ++r) {
      Block& block = out[r * blocks + b];
      block.d = half_bytes(from.scale(row + r, group));
      block.zero = from.zero(row + r, group);
    }
    for (int i = 0; i < kGroup / 32; ++i) {
      from.read(row, b * (kGroup / 32) + i, pieces);
      for (int64_t r = 0; r < 8; ++r) std::memcpy(out[r * blocks + b].qs + 16 * i, pieces[r], sizeof(Piece));
    }
  }
}

// Columns whose groups lie in any order.
void unpack_halves(const Reader& from, int64_t row, int64_t in, std::byte* to) {
  Piece pieces[8];
  for (int64_t k = 0; k < in; ++k) {
    if (k % 32 == 0) from.read(row, k / 32, pieces);
    const int64_t group = from.group_of(k);
    for (int64_t r = 0; r < 8; ++r) {
      const int code = pieces[r][k % 16] >> (k % 32 / 16 * 4) & 15;
      const f16 x = to_f16(from.scale(row + r, group) * static_cast<float>(code - from.zero(row + r, group)));
      std::memcpy(to + (r * in + k) * 2, &x, 2);
    }
  }
}

// Eight rows of 8-bit codes, whose zero points are 128.
void unpack_q8(const Reader& from, const PackedMatrix& m, int64_t row, int64_t out, int64_t in, std::byte* to) {
  const int64_t blocks = in / 32;
  const bool by_rows = is_by_rows(m.how.method);
  const auto* codes = reinterpret_cast<const uint8_t*>(m.codes.data.data());
  auto* block = reinterpret_cast<BlockQ8_0*>(to);
  for (int64_t r = 0; r < 8; ++r) {
    for (int64_t b = 0; b < blocks; ++b, ++block) {
      block->d = half_bytes(from.scale(row + r, b * 32 / m.group_size));
      for (int64_t k = 32 * b, i = 0; i < 32; ++i, ++k) {
        const uint8_t code = codes[by_rows ? (row + r) * in + k : (k / 4 * out + row + r) * 4 + k % 4];
        block->qs[i] = static_cast<int8_t>(code - 128);
      }
    }
  }
}

int64_t blocks_of(int64_t n, int64_t size) { return (n + size - 1) / size; }

Buffer unpack_fp8(const PackedMatrix& m, int64_t out, int64_t in) {
  const int64_t count = m.scales.shape.elements();
  std::vector<float> scales(static_cast<size_t>(count)), row(static_cast<size_t>(in));
  dequantize_row(m.scales.dtype, m.scales.data.data(), scales.data(), count);
  const bool blocks = count > 1 && m.how.block_rows > 0;
  const int64_t columns = blocks ? m.how.block_columns : in, across = blocks_of(in, columns);
  Buffer rows = allocate_host(static_cast<size_t>(out * in * 2));
  auto* to = reinterpret_cast<bf16*>(rows.data());
  for (int64_t r = 0; r < out; ++r, to += in) {
    dequantize_row(DType::F8E4M3, m.codes.data.data() + r * in, row.data(), in);
    const float* of_row = scales.data() + (blocks ? r / m.how.block_rows * across : count > 1 ? r : 0);
    for (int64_t b = 0; b < across; ++b) {
      const int64_t end = std::min(in, (b + 1) * columns);
      for (int64_t k = b * columns; k < end; ++k) to[k] = to_bf16(row[static_cast<size_t>(k)] * of_row[b]);
    }
  }
  return rows;
}

// The parts of one matrix, and the checks that make reading it safe.
class Joiner {
 public:
  Joiner(const std::unordered_map<std::string_view, const FileTensor*>& all, const PackedWeights& how,
         std::string_view name)
      : all_(all), how_(how), names_(names_of(how.method)), name_(name) {}

  FileTensor join_fp8() {
    PackedMatrix m{how_, 0, part("weight", true), {}, {}, {}};
    const FileTensor& w = m.codes;
    expect(w, w.shape.rank() == 2 && w.shape.elements() > 0, "must be a matrix that is not empty");
    for (const char* last : kFp8Scales) {
      if (m.scales.name.empty()) m.scales = part(last, false);
    }
    if (m.scales.name.empty()) {
      throw Error(ErrorKind::CorruptFile,
                  fmt::format("{} is fp8, and there is no {}{} beside it", w.name, name_, kFp8Scales[0]));
    }
    const Shape &s = m.scales.shape, by_blocks{blocks_of(w.shape[0], std::max(how_.block_rows, 1)),
                                               blocks_of(w.shape[1], std::max(how_.block_columns, 1))};
    const bool by_row = s == Shape{w.shape[0]} || s == Shape{w.shape[0], 1};
    expect_floats(m.scales);
    if (s.elements() != 1 && !(how_.block_rows > 0 ? s == by_blocks : by_row)) {
      throw Error(ErrorKind::CorruptFile,
                  fmt::format("{} has shape {}; expected one number or {} for {} {}", m.scales.name, to_string(s),
                              how_.block_rows > 0 ? to_string(by_blocks) : fmt::format("[{}, 1]", w.shape[0]), w.name,
                              to_string(w.shape)));
    }
    FileTensor t;
    t.name = w.name;
    t.shape = w.shape;
    t.dtype = DType::BF16;
    t.packed = std::make_shared<const PackedMatrix>(std::move(m));
    return t;
  }

  FileTensor join() {
    PackedMatrix m{how_, 0, part(names_.codes, true), part(names_.scales, true), {}, {}};
    expect(m.codes, m.codes.dtype == DType::I32 && m.codes.shape.rank() == 2 && m.codes.shape.elements() > 0,
           "must be a matrix of int32 that is not empty");
    const int64_t rows = m.codes.shape[0], cols = m.codes.shape[1];
    const bool by_rows = is_by_rows(how_.method), awq = how_.method == Method::Awq;
    const int64_t in_word = 32 / how_.bits;
    const int64_t out = by_rows ? rows : awq ? cols * in_word : cols;
    const int64_t in = by_rows ? cols * in_word : awq ? rows : rows * in_word;
    m.group_size = how_.group_size == 0 ? in : how_.group_size;
    if (out % 8 != 0 || in % 32 != 0 || in % m.group_size != 0 || m.group_size % 32 != 0) {
      throw Error(ErrorKind::Unsupported,
                  fmt::format("{} has {} outputs and {} inputs in groups of {}; expected outputs in eights and whole "
                              "groups of a multiple of 32",
                              m.codes.name, out, in, m.group_size));
    }
    const int64_t groups = in / m.group_size;
    expect_floats(m.scales);
    expect_shape(m.scales, by_rows ? Shape{out, groups} : Shape{groups, out});
    m.zeros = part(names_.zeros, how_.method != Method::CompressedTensors);
    if (!m.zeros.name.empty()) {
      expect(m.zeros, m.zeros.dtype == DType::I32, "must be of int32");
      expect_shape(m.zeros, by_rows ? Shape{out / in_word, groups} : Shape{groups, out / in_word});
    }
    m.group_of_column = part(names_.group_of_column, false);
    if (!m.group_of_column.name.empty()) {
      expect(m.group_of_column, m.group_of_column.dtype == DType::I32, "must be of int32");
      expect_shape(m.group_of_column, Shape{in});
      if (in_order(m.group_of_column, m.group_size, groups)) m.group_of_column = {};
    }
    part("weight_shape", false);
    if (how_.bits == 8) expect_symmetric(m);

    FileTensor t;
    t.name = std::string(name_) + "weight";
    t.shape = Shape{out, in};
    const DType groups_of = m.group_size % 128 == 0 ? DType::Int4G128 : DType::Int4G32;
    t.dtype = how_.bits == 8 ? DType::Q8_0 : m.group_of_column.name.empty() ? groups_of : DType::F16;
    if (all_.contains(t.name))
      throw Error(ErrorKind::CorruptFile, fmt::format("{} is there beside {}", t.name, m.codes.name));
    drop_empty_bias();
    t.packed = std::make_shared<const PackedMatrix>(std::move(m));
    return t;
  }
  const std::vector<std::string>& used() const { return used_; }

 private:
  FileTensor part(const char* last, bool needed) {
    const std::string full = std::string(name_) + last;
    auto it = all_.find(full);
    if (it == all_.end()) {
      if (needed) {
        throw Error(ErrorKind::CorruptFile,
                    fmt::format("the checkpoint has {}{} but no {}", name_, names_.codes, full));
      }
      return {};
    }
    used_.push_back(full);
    return *it->second;
  }
  static void expect(const FileTensor& t, bool holds, const char* what) {
    if (!holds) {
      throw Error(ErrorKind::CorruptFile,
                  fmt::format("{} {}, is {} {}", t.name, what, name(t.dtype), to_string(t.shape)));
    }
  }
  static void expect_floats(const FileTensor& t) {
    const bool halves = t.dtype == DType::F16 || t.dtype == DType::BF16;
    expect(t, halves || t.dtype == DType::F32, "must be of float16, bfloat16 or float32");
  }
  static void expect_shape(const FileTensor& t, const Shape& shape) {
    if (t.shape != shape) {
      throw Error(ErrorKind::CorruptFile, fmt::format("{} has shape {}; expected {} from the codes beside it", t.name,
                                                      to_string(t.shape), to_string(shape)));
    }
  }
  // What Q8_0 can hold.
  static void expect_symmetric(const PackedMatrix& m) {
    if (!m.group_of_column.name.empty()) {
      throw Error(ErrorKind::Unsupported,
                  fmt::format("{} has columns out of order (desc_act), which are supported with 4 "
                              "bits; these are 8",
                              m.group_of_column.name));
    }
    const uint32_t stored = m.how.zeros_less_one ? 0x7f7f7f7fU : 0x80808080U;
    const uint32_t* z = words(m.zeros);
    for (int64_t i = 0; !m.zeros.name.empty() && i < m.zeros.shape.elements(); ++i) {
      if (z[i] == stored) continue;
      throw Error(ErrorKind::Unsupported,
                  fmt::format("{} has zero points other than 128; with 8 bits only symmetric codes "
                              "are supported",
                              m.zeros.name));
    }
  }
  // All −1, as compressed-tensors leaves it where nothing was calibrated, stands for order.
  static bool in_order(const FileTensor& t, int64_t group_size, int64_t groups) {
    int64_t same = 0, unset = 0;
    for (int64_t k = 0; k < t.shape[0]; ++k) {
      int32_t group = 0;
      std::memcpy(&group, t.data.data() + k * 4, 4);
      same += group == k / group_size ? 1 : 0;
      unset += group == -1 ? 1 : 0;
      if (group < -1 || group >= groups || (group == -1 && unset != k + 1)) {
        throw Error(ErrorKind::CorruptFile,
                    fmt::format("{} names group {} of {} for column {}", t.name, group, groups, k));
      }
    }
    if (unset > 0 && unset != t.shape[0]) {
      throw Error(ErrorKind::CorruptFile, fmt::format("{} names no group for its first {} columns", t.name, unset));
    }
    return same == t.shape[0] || unset > 0;
  }
  void drop_empty_bias() {
    auto it = all_.find(std::string(name_) + "bias");
    if (it == all_.end()) return;
    const std::span<const std::byte> data = it->second->data;
    if (std::all_of(data.begin(), data.end(), [](std::byte b) { return b == std::byte{0}; })) {
      used_.push_back(it->second->name);
    }
  }

  const std::unordered_map<std::string_view, const FileTensor*>& all_;
  const PackedWeights& how_;
  Names names_;
  std::string_view name_;
  std::vector<std::string> used_;
};

}  // namespace

std::string_view packed_suffix(std::string_view name) {
  for (const std::string_view suffix : {".qweight", ".weight_packed"}) {
    if (name.ends_with(suffix)) return suffix;
  }
  return {};
}

void join_packed(std::vector<FileTensor>& tensors, const PackedWeights& how) {
  std::unordered_map<std::string_view, const FileTensor*> all;
  for (const FileTensor& t : tensors) all[t.name] = &t;
  std::vector<FileTensor> joined;
  std::unordered_set<std::string> used;
  const bool fp8 = how.method == Method::Fp8;
  const std::string_view codes = fp8 ? "weight" : names_of(how.method).codes;
  for (const FileTensor& t : tensors) {
    const std::string_view full = t.name;
    if (fp8 && t.dtype != DType::F8E4M3) continue;
    if (!full.ends_with(codes) || (full.size() > codes.size() && full[full.size() - codes.size() - 1] != '.')) continue;
    Joiner j(all, how, full.substr(0, full.size() - codes.size()));
    joined.push_back(fp8 ? j.join_fp8() : j.join());
    used.insert(j.used().begin(), j.used().end());
  }
  std::erase_if(tensors, [&](const FileTensor& t) { return used.contains(t.name); });
  std::move(joined.begin(), joined.end(), std::back_inserter(tensors));
}

Buffer unpack(const FileTensor& t) {
  const PackedMatrix& m = *t.packed;
  const int64_t out = t.shape[0], in = t.shape[1], bytes = row_bytes(t.dtype, in);
  if (m.how.method == Method::Fp8) return unpack_fp8(m, out, in);
  const Reader from(m, out, in);
  Buffer rows = allocate_host(static_cast<size_t>(out * bytes));
  for (int64_t row = 0; row < out; row += 8) {
    std::byte* to = rows.data() + row * bytes;
    if (t.dtype == DType::Q8_0) {
      unpack_q8(from, m, row, out, in, to);
    } else if (t.dtype == DType::Int4G128) {
      unpack_blocks<128>(from, m.group_size, row, in, to);
    } else if (t.dtype == DType::Int4G32) {
      unpack_blocks<32>(from, m.group_size, row, in, to);
    } else {
      unpack_halves(from, row, in, to);
    }
  }
  return rows;
}

}  // namespace sgl
