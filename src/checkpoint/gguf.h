#pragma once
// The GGUF format, versions 2 and 3: key-values, tensor descriptions, aligned bytes.
//
//   "GGUF" │ u32 version │ u64 tensors │ u64 key-values
//   key-value:  string key │ u32 type │ value        string: u64 length │ bytes       array: u32 type │ u64 length │
//   elements tensor:     string name │ u32 rank │ u64 dims[rank], innermost first │ u32 type │ u64 offset padding to
//   general.alignment (32) │ bytes of all tensors; offsets count from here
//
// All numbers are little-endian. Opening walks over everything before the tensor bytes once and keeps places, not
// values: a vocabulary of 262,144 tokens costs about a millisecond, and nothing is copied until somebody asks for it.

#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "base/file.h"
#include "checkpoint/checkpoint.h"

namespace sgl {

/// Immutable; every const function may be called from any thread. Views that it returns live as long as it does.
class GgufFile {
 public:
  /// Maps the file. Throws NotFound; CorruptFile; Unsupported (version 1, big-endian, a tensor type, which it names).
  explicit GgufFile(const std::string& path);
  /// A file in memory that somebody else owns; `path` names it in errors. Memory: proportional to the part of the file
  /// that stands before the tensor bytes.
  GgufFile(std::span<const std::byte> bytes, std::string path);

  /// Takes over the tensors of another part of the same model. Call before the file is shared between threads.
  void adopt(std::unique_ptr<GgufFile> part);

  const std::string& path() const { return path_; }
  uint32_t version() const { return version_; }

  std::vector<std::string_view> keys() const;  ///< in the file's order
  bool has(std::string_view key) const { return values_.contains(key); }

  // One value; nullopt if the key is absent. Throws CorruptFile, naming the key, when its type does not fit.
  std::optional<int64_t> integer(std::string_view key) const;  ///< any integer type or bool
  /// Nothing also where the file says "none" as −1, in 32 bits or more. Throws CorruptFile for what is no id.
  std::optional<int32_t> token_id(std::string_view key) const;
  std::optional<double> number(std::string_view key) const;  ///< any integer or float type
  std::optional<bool> boolean(std::string_view key) const;
  std::optional<std::string_view> string(std::string_view key) const;  ///< the bytes as they are: may be invalid UTF-8

  // An array; empty if the key is absent. Throws CorruptFile when the element type does not fit. Cost: O(elements).
  bool is_array(std::string_view key) const;
  std::vector<std::string_view> strings(std::string_view key) const;
  std::vector<float> floats(std::string_view key) const;  ///< of any number type
  std::vector<int32_t> ints(std::string_view key) const;  ///< of any integer type or bool; must fit 32 bits

  /// Under the file's own names ("blk.0.attn_q.weight"), dims outermost first; in the file's order.
  const std::vector<FileTensor>& tensors() const { return tensors_; }

 private:
  /// The codes of the file.
  enum class Type : uint32_t { U8, I8, U16, I16, U32, I32, F32, Bool, String, Array, U64, I64, F64 };
  struct Value {
    Type type = Type::U8;  ///< of the value or of the array's elements
    bool array = false;
    uint64_t count = 1;  ///< elements
    const std::byte* data = nullptr;
  };
  class Reader;

  void parse();
  Value read_value(Reader& r, std::string_view key);
  void skip_elements(Reader& r, Type type, uint64_t count, int depth, std::string_view key);
  /// Everything but `data`; the reader stands before the offset.
  FileTensor read_tensor(Reader& r);
  void place_tensors(const Reader& r, const std::vector<uint64_t>& offsets);
  const Value* find(std::string_view key, bool array) const;
  [[noreturn]] void wrong_type(std::string_view key, const char* expected) const;

  MappedFile file_;
  std::span<const std::byte> bytes_;
  std::string path_;
  uint32_t version_ = 0;
  std::vector<std::string_view> keys_;
  std::unordered_map<std::string_view, Value> values_;
  std::vector<FileTensor> tensors_;
  std::vector<std::unique_ptr<GgufFile>> parts_;
};

/// A .gguf file, or the first of several parts of one model ("…-00001-of-00003.gguf"), as a checkpoint, with the hub's
/// names of tensors and architecture. `directory`: what Checkpoint::directory() returns; where it holds a
/// generation_config.json, that adds to the file's own settings.
std::unique_ptr<Checkpoint> open_gguf(const std::string& path, const std::string& directory);

/// Whether the name is that of a part of a split model, and not of the first.
bool is_later_gguf_part(std::string_view path);

/// The config that the file's keys and tensors describe.
/// Architectures: llama (also Mistral), qwen2, qwen3, phi3, gemma2, gemma3, gpt2; for another one, only `architecture`
/// (the file's own name of it) is set. Throws CorruptFile (a key is missing or contradicts another) or Unsupported.
ModelConfig config_from_gguf(const GgufFile& file);

/// The hub's name of a tensor: "blk.3.attn_q.weight" → "model.layers.3.self_attn.q_proj.weight"; for GPT-2 as
/// transformers saves it: "transformer.h.3.attn.c_attn.weight". Names that the architecture does not have stay as they
/// are. `architecture`: the hub's.
std::string hub_name(std::string_view gguf_name, std::string_view architecture);

}  // namespace sgl
