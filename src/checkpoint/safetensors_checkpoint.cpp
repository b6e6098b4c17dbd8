// A directory in the hub's layout: config.json and one or more safetensors files.

#include <algorithm>
#include <cstring>
#include <filesystem>
#include <utility>

#include <fmt/format.h>

#include "base/file.h"
#include "base/log.h"
#include "checkpoint/config_json.h"
#include "checkpoint/hub_files.h"
#include "checkpoint/json.h"
#include "checkpoint/model_directory.h"
#include "checkpoint/packed_weights.h"
#include "checkpoint/safetensors.h"
#include "checkpoint/tensor_index.h"
#include "sgl/error.h"

namespace sgl {
namespace {

namespace fs = std::filesystem;
using nlohmann::json;

// The hub's names differ a little by who saved the file. Ours are those that transformers gives the causal language
// model, or the encoder without a head; empty for a tensor that is not part of it.
std::string encoder_name(std::string name, const ModelConfig& c) {
  for (std::string_view root : {"bert.", "roberta."}) {
    if (name.starts_with(root)) name.erase(0, root.size());
  }
  // Heads that fill in masked words, the buffer of position ids, and BERT's pooler, which only its classifier uses.
  for (std::string_view unused : {"cls.", "lm_head.", "embeddings.position_ids", "embeddings.token_type_ids"}) {
    if (name.starts_with(unused)) return "";
  }
  if (name.starts_with("pooler.") && c.num_labels == 0) return "";
  // As the original release spells its norms.
  if (name.ends_with(".gamma")) name.replace(name.size() - 5, 5, "weight");
  if (name.ends_with(".beta")) name.replace(name.size() - 4, 4, "bias");
  return name;
}

std::string canonical_name(std::string name, const ModelConfig& c) {
  if (c.encoder) return encoder_name(std::move(name), c);
  if (c.architecture == "GPT2LMHeadModel") {
    // The original upload is of the model without its head: "h.0.ln_1.weight".
    for (const char* top : {"h.", "wte.", "wpe.", "ln_f."}) {
      if (name.starts_with(top)) return "transformer." + name;
    }
  }
  if (c.architecture == "Gemma3ForCausalLM") {
    for (const char* vision :
         {"vision_tower.", "multi_modal_projector.", "model.vision_tower.", "model.multi_modal_projector."}) {
      if (name.starts_with(vision)) return "";
    }
    for (std::string_view wrapped : {"model.language_model.", "language_model.model."}) {
      if (name.starts_with(wrapped)) return "model." + name.substr(wrapped.size());
    }
    if (name.starts_with("language_model.lm_head.")) return name.substr(std::string_view("language_model.").size());
  }
  if (!c.has_lm_head && !name.starts_with("model.") && !name.starts_with("transformer.")) return "model." + name;
  return name;
}

// The weight files of a directory, in the order of the index.
std::vector<std::string> weight_files(const fs::path& directory) {
  if (fs::exists(directory / "model.safetensors")) return {"model.safetensors"};
  std::vector<std::string> files;
  if (const fs::path index = directory / "model.safetensors.index.json"; fs::exists(index)) {
    const json parsed = parse_json(read_file(index.string(), kMaxConfigBytes), index.string());
    const ConfigFields f(parsed, index.string());
    if (!f.is_set("weight_map") || !f.find("weight_map")->is_object()) f.fail("weight_map", "must be an object");
    for (const auto& [tensor, file] : f.find("weight_map")->items()) {
      const std::string file_name = file.is_string() ? file.get<std::string>() : "";
      // A name with a path could make us read any file of the machine.
      if (file_name.empty() || file_name.find('/') != std::string::npos || file_name.front() == '.') {
        throw Error(ErrorKind::CorruptFile,
                    fmt::format("{}: tensor {} must name a file of the same directory", index.string(), tensor));
      }
      files.push_back(file_name);
    }
    std::sort(files.begin(), files.end());
    files.erase(std::unique(files.begin(), files.end()), files.end());
    return files;
  }
  files = files_with_extension(directory.string(), ".safetensors");
  if (files.size() > 1) files = hub::safetensors_without_index(files);
  if (files.size() > 1 && !hub::are_one_model(files)) {
    throw Error(
        ErrorKind::CorruptFile,
        fmt::format("{} has {} safetensors files ({}, …) but neither model.safetensors nor an index, and they are "
                    "not all parts of one model (…-00001-of-{:05}.safetensors and so on)",
                    directory.string(), files.size(), files[0], files.size()));
  }
  if (files.empty()) {
    throw Error(
        ErrorKind::NotFound,
        fmt::format("{} has no *.safetensors file (other formats of weights are not read); --load-format dummy makes "
                    "random weights from config.json alone",
                    directory.string()));
  }
  return files;
}

class SafetensorsCheckpoint : public Checkpoint {
 public:
  SafetensorsCheckpoint(const std::string& directory, const std::string& overrides)
      : directory_(directory), config_(read_config(directory, overrides)) {
    // Of an architecture that no code knows, no tensor is of use; the registry refuses it by name.
    if (!is_known_architecture(config_.architecture)) return;
    for (const std::string& file : weight_files(directory)) add_file((fs::path(directory) / file).string());
    index_.finish(directory);
    if (config_.packed) {
      join_packed(index_.tensors(), *config_.packed);
      index_.finish(directory);
      say_what_grows();
    }
    for (const FileTensor& t : index_.tensors()) {
      if (t.dtype == DType::F8E4M3 || !packed_suffix(t.name).empty()) refuse_unjoined(t);
    }
    config_.dtype = index_.main_dtype().value_or(config_.dtype);
  }

  const ModelConfig& config() const override { return config_; }
  const FileTensor* find(std::string_view name) const override { return index_.find(name); }
  std::vector<std::string_view> names() const override { return index_.names(); }
  std::string format() const override { return "safetensors"; }
  std::string directory() const override { return directory_; }

  void release(const FileTensor& t) const override {
    if (t.packed != nullptr) {
      release(t.packed->codes);
      return;
    }
    // Copies are not in the mapping: the system would forget what they hold.
    for (const Buffer& copy : copies_) {
      if (t.data.data() >= copy.data() && t.data.data() < copy.data() + copy.bytes()) return;
    }
    MappedFile::release(t.data);
  }

 private:
  // A tensor of codes that is not one of a matrix that the config describes.
  [[noreturn]] void refuse_unjoined(const FileTensor& t) const {
    throw Error(
        ErrorKind::Unsupported,
        fmt::format("{}: tensor {} holds codes of a quantized matrix, and config.json has {}; expected one of the "
                    "method that wrote it",
                    directory_, t.name,
                    config_.packed ? "a quantization_config of another method" : "no quantization_config"));
  }

  // Who expects the file's size in memory must know.
  void say_what_grows() const {
    int count = 0;
    DType type = DType::F16;
    for (const FileTensor& t : index_.tensors()) {
      if (t.packed == nullptr || (t.dtype != DType::F16 && t.dtype != DType::BF16)) continue;
      ++count;
      type = t.dtype;
    }
    if (count == 0) return;
    log::warn(
        "quantized matrices that become {}, of 16 bits a number: {}, of {}; --quantization makes them small again",
        name(type), count,
        type == DType::BF16 ? "8-bit floating point numbers" : "4 bits with columns out of order (desc_act)");
  }

  void add_file(const std::string& path) {
    const MappedFile& file = files_.emplace_back(path);
    std::vector<FileTensor> tensors = parse_safetensors(file.bytes(), path);
    for (FileTensor& t : tensors) t.name = canonical_name(std::move(t.name), config_);
    std::erase_if(tensors, [](const FileTensor& t) { return t.name.empty(); });
    copy_misaligned(tensors);
    for (FileTensor& t : tensors) index_.add(std::move(t));
  }

  // Files of early writers hold numbers at odd addresses: those tensors are copied, so that all users may assume
  // alignment.
  void copy_misaligned(std::vector<FileTensor>& tensors) {
    auto misaligned = [](const FileTensor& t) {
      return reinterpret_cast<uintptr_t>(t.data.data()) % static_cast<uintptr_t>(block_layout(t.dtype).bytes) != 0;
    };
    auto room = [](const FileTensor& t) { return (t.data.size() + 7) / 8 * 8; };
    size_t bytes = 0;
    for (const FileTensor& t : tensors) bytes += misaligned(t) ? room(t) : 0;
    if (bytes == 0) return;
    std::byte* to = copies_.emplace_back(allocate_host(bytes)).data();
    for (FileTensor& t : tensors) {
      if (!misaligned(t) || t.data.empty()) continue;
      std::memcpy(to, t.data.data(), t.data.size());
      t.data = {to, t.data.size()};
      to += room(t);
    }
  }

  std::string directory_;
  ModelConfig config_;
  std::vector<MappedFile> files_;
  std::vector<Buffer> copies_;
  TensorIndex index_;
};

}  // namespace

std::unique_ptr<Checkpoint> open_safetensors(const std::string& directory, const std::string& config_overrides) {
  return std::make_unique<SafetensorsCheckpoint>(directory, config_overrides);
}

}  // namespace sgl
