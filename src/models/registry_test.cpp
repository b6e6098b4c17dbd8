// What building a model says when the checkpoint does not fit the config. The checkpoint is made up in memory.

#include "models/registry.h"

#include <map>

#include <gtest/gtest.h>

#include "checkpoint/config_json.h"
#include "ops/ref_backend.h"
#include "sgl/error.h"

namespace sgl {
namespace {

class MemoryCheckpoint : public Checkpoint {
 public:
  // A Llama of one layer with every tensor it needs, all zero.
  MemoryCheckpoint() {
    config_.architecture = "LlamaForCausalLM";
    config_.hidden_size = 8;
    config_.num_layers = 1;
    config_.num_heads = 2;
    config_.num_kv_heads = 1;
    config_.head_dim = 4;
    config_.intermediate_size = 12;
    config_.vocab_size = 20;
    config_.context_length = 32;
    config_.attention_scale = 0.5F;
    config_.rope.rotary_dim = 4;
    add("model.embed_tokens.weight", {20, 8});
    add("model.norm.weight", {8});
    add("lm_head.weight", {20, 8});
    const std::string layer = "model.layers.0.";
    add(layer + "input_layernorm.weight", {8});
    add(layer + "post_attention_layernorm.weight", {8});
    add(layer + "self_attn.q_proj.weight", {8, 8});
    add(layer + "self_attn.k_proj.weight", {4, 8});
    add(layer + "self_attn.v_proj.weight", {4, 8});
    add(layer + "self_attn.o_proj.weight", {8, 8});
    add(layer + "mlp.gate_proj.weight", {12, 8});
    add(layer + "mlp.up_proj.weight", {12, 8});
    add(layer + "mlp.down_proj.weight", {8, 12});
  }
  void add(const std::string& name, Shape shape) {
    auto& data = memory_[name];
    data.assign(static_cast<size_t>(shape.elements()) * 4, std::byte{0});
    tensors_[name] = {name, DType::F32, shape, data};
  }
  void remove(const std::string& name) { tensors_.erase(name); }
  ModelConfig& mutable_config() { return config_; }

  const ModelConfig& config() const override { return config_; }
  const FileTensor* find(std::string_view name) const override {
    auto it = tensors_.find(std::string(name));
    return it == tensors_.end() ? nullptr : &it->second;
  }
  std::vector<std::string_view> names() const override {
    std::vector<std::string_view> all;
    for (const auto& [name, t] : tensors_) all.push_back(name);
    return all;
  }
  std::string format() const override { return "memory"; }
  std::string directory() const override { return ""; }
  void release(const FileTensor&) const override {}

 private:
  ModelConfig config_;
  std::map<std::string, std::vector<std::byte>> memory_;
  std::map<std::string, FileTensor> tensors_;
};

std::string refusal(const MemoryCheckpoint& checkpoint, ErrorKind kind) {
  auto backend = Backend::create({.device = "ref"});
  try {
    build_model(checkpoint, *backend, 32);
  } catch (const Error& e) {
    EXPECT_EQ(e.kind(), kind);
    return e.what();
  }
  return "";
}

TEST(Registry, BuildsAModelWhoseTensorsFit) { EXPECT_EQ(refusal(MemoryCheckpoint(), ErrorKind::Internal), ""); }

// Notes which matrices may be quantized.
class NotingBackend : public RefBackend {
 public:
  Weight prepare(std::span<const Tensor> parts) override {
    outs.push_back(parts[0].rows());
    return RefBackend::prepare(parts);
  }
  Weight prepare_head(std::span<const Tensor> parts) override {
    head_outs.push_back(parts[0].rows());
    return RefBackend::prepare(parts);
  }
  std::vector<int64_t> outs, head_outs;
};

TEST(Registry, OnlyTheMatrixThatMakesLogitsIsPreparedAsHead) {
  for (const bool tied : {false, true}) {
    MemoryCheckpoint c;
    c.mutable_config().tie_word_embeddings = tied;
    NotingBackend backend;
    build_model(c, backend, 32);
    EXPECT_EQ(backend.head_outs, (std::vector<int64_t>{20}));
    EXPECT_EQ(backend.outs, (std::vector<int64_t>{8, 8, 12, 8})) << "q (with k and v), o, gate (with up), down";
  }
}

TEST(Registry, NamesTheMissingTensor) {
  MemoryCheckpoint c;
  c.remove("model.layers.0.mlp.up_proj.weight");
  std::string message = refusal(c, ErrorKind::CorruptFile);
  EXPECT_NE(message.find("model.layers.0.mlp.up_proj.weight"), std::string::npos) << message;
  EXPECT_NE(message.find("[12, 8]"), std::string::npos) << message;
}

TEST(Registry, NamesTheMisshapenTensorAndBothShapes) {
  MemoryCheckpoint c;
  c.add("model.layers.0.self_attn.k_proj.weight", {4, 7});
  std::string message = refusal(c, ErrorKind::CorruptFile);
  EXPECT_NE(message.find("self_attn.k_proj.weight has shape [4, 7]"), std::string::npos) << message;
  EXPECT_NE(message.find("[4, 8]"), std::string::npos) << message;
}

TEST(Registry, NamesExtraTensors) {
  MemoryCheckpoint c;
  c.add("model.layers.1.mlp.up_proj.weight", {12, 8});
  EXPECT_NE(refusal(c, ErrorKind::CorruptFile).find("model.layers.1.mlp.up_proj.weight"), std::string::npos);
}

TEST(Registry, ABiasOfAMatrixThatIsStoredOtherwiseIsExtra) {
  MemoryCheckpoint c;
  c.mutable_config().architecture = "Phi3ForCausalLM";  // q, k and v are one matrix, or three
  EXPECT_EQ(refusal(c, ErrorKind::Internal), "");
  c.add("model.layers.0.self_attn.qkv_proj.bias", {16});
  EXPECT_NE(refusal(c, ErrorKind::CorruptFile).find("self_attn.qkv_proj.bias"), std::string::npos);
}

TEST(Registry, IgnoresTensorsThatPublishersShipInVain) {
  MemoryCheckpoint c;
  c.add("model.layers.0.self_attn.rotary_emb.inv_freq", {2});
  c.mutable_config().tie_word_embeddings = true;  // lm_head.weight is a copy now
  EXPECT_EQ(refusal(c, ErrorKind::Internal), "");
}

TEST(Registry, OfEveryRowTheConfigIsRead) {
  for (const std::string& name : supported_architectures()) EXPECT_TRUE(is_known_architecture(name)) << name;
}

TEST(Registry, UnknownArchitectureIsNamedWithThoseThereAre) {
  MemoryCheckpoint c;
  c.mutable_config().architecture = "MambaForCausalLM";
  std::string message = refusal(c, ErrorKind::Unsupported);
  EXPECT_NE(message.find("MambaForCausalLM"), std::string::npos);
  for (const std::string& name : supported_architectures()) EXPECT_NE(message.find(name), std::string::npos);
}

}  // namespace
}  // namespace sgl
