// Files that somebody made to do harm, or that a broken disk or download made: whatever the bytes, opening them either
// works and gives tensors that can be read, or throws CorruptFile or Unsupported. Run these under AddressSanitizer.

#include <cstdint>
#include <functional>
#include <random>
#include <string>

#include <gtest/gtest.h>

#include "checkpoint/checkpoint.h"
#include "checkpoint/config_json.h"
#include "checkpoint/gguf.h"
#include "checkpoint/json.h"
#include "checkpoint/safetensors.h"
#include "checkpoint/test_files.h"
#include "sgl/error.h"
#include "tensor/block_formats.h"

namespace sgl {
namespace {

using testing::as_bytes;
using testing::GgufBuilder;
using testing::SafetensorsBuilder;

// Touches every byte that a user of the tensors could read.
double read_all(const std::vector<FileTensor>& tensors) {
  double sum = 0;
  std::vector<float> row;
  for (const FileTensor& t : tensors) {
    const int64_t cols = t.shape.rank() > 0 ? t.shape[t.shape.rank() - 1] : 1;
    const int64_t rows = cols == 0 ? 0 : t.shape.elements() / cols;
    EXPECT_EQ(row_bytes(t.dtype, rows * cols), static_cast<int64_t>(t.data.size()));
    if (rows == 0) continue;  // an empty tensor may be [0, 2^62]
    row.resize(static_cast<size_t>(cols));
    for (int64_t r = 0; r < rows; ++r) {
      dequantize_row(t.dtype, t.data.data() + row_bytes(t.dtype, r * cols), row.data(), cols);
      sum += static_cast<double>(row[0]);
    }
  }
  return sum;
}

// Whether `open` accepted the file; any other error than the two allowed ones fails the test.
bool accepts(const std::string& what, const std::function<void()>& open) {
  try {
    open();
    return true;
  } catch (const Error& e) {
    EXPECT_TRUE(e.kind() == ErrorKind::CorruptFile || e.kind() == ErrorKind::Unsupported) << what << ": " << e.what();
    EXPECT_LT(std::string(e.what()).size(), 2000U) << what;
  } catch (const std::exception& e) {
    ADD_FAILURE() << what << ": " << e.what();
  }
  return false;
}

bool open_safetensors_bytes(const std::string& file, const std::string& what) {
  // An exact copy on the heap: a read past its end is seen by AddressSanitizer.
  const std::vector<char> bytes(file.begin(), file.end());
  return accepts(what, [&] { read_all(parse_safetensors(as_bytes({bytes.data(), bytes.size()}), "x")); });
}

bool open_gguf_bytes(const std::string& file, const std::string& what) {
  const std::vector<char> bytes(file.begin(), file.end());
  return accepts(what, [&] {
    const GgufFile f(as_bytes({bytes.data(), bytes.size()}), "x");
    read_all(f.tensors());
    for (std::string_view key : f.keys()) {
      for (const std::function<void()>& get : std::initializer_list<std::function<void()>>{
               [&] { f.integer(key); }, [&] { f.number(key); }, [&] { f.string(key); }, [&] { f.boolean(key); },
               [&] { f.strings(key); }, [&] { f.ints(key); }, [&] { f.floats(key); }}) {
        accepts(what, get);
      }
    }
    const ModelConfig c = config_from_gguf(f);
    for (const FileTensor& t : f.tensors()) hub_name(t.name, c.architecture);
  });
}

std::string small_safetensors() {
  SafetensorsBuilder b;
  b.add_entry(R"("__metadata__":{"format":"pt"})");
  b.add_floats("model.embed_tokens.weight", {4, 3}, std::vector<float>(12, 1.5F));
  b.add("model.norm.weight", "BF16", {3}, "abcdef");
  b.add("ids", "I64", {1}, "12345678");
  return b.build();
}

std::string small_gguf() {
  return GgufBuilder()
      .key("general.architecture", "llama")
      .key<uint32_t>("llama.embedding_length", 32)
      .key<uint32_t>("llama.block_count", 1)
      .key<uint32_t>("llama.attention.head_count", 2)
      .key<uint32_t>("llama.feed_forward_length", 64)
      .key<uint32_t>("llama.context_length", 128)
      .key<float>("llama.attention.layer_norm_rms_epsilon", 1e-5F)
      .key<uint32_t>("tokenizer.ggml.eos_token_id", 2)
      .strings("tokenizer.ggml.tokens", {"a", "bc", "def"})
      .array<int32_t>("tokenizer.ggml.token_type", {1, 2, 3})
      .tensor("token_embd.weight", {32, 3}, 8, std::string(3 * 34, '\x11'))
      .tensor("output_norm.weight", {32}, 0, std::string(128, '\0'))
      .tensor("rope_freqs.weight", {8}, 0, testing::bytes_of(std::vector<float>(8, 2.0F)))
      .build();
}

using Opener = bool (*)(const std::string& file, const std::string& what);

void every_truncation_fails(const std::string& file, Opener open) {
  ASSERT_TRUE(open(file, "whole"));
  for (size_t n = 0; n < file.size(); ++n) {
    EXPECT_FALSE(open(file.substr(0, n), fmt::format("first {} bytes", n))) << n;
  }
}

void random_damage_never_crashes(const std::string& file, Opener open, unsigned seed, int rounds) {
  SCOPED_TRACE(seed);
  std::mt19937 random(seed);
  int accepted = 0;
  for (int i = 0; i < rounds; ++i) {
    std::string damaged = file;
    // One to eight changes: a flipped bit, a random byte, or one of the numbers that break arithmetic.
    for (unsigned n = random() % 8 + 1; n > 0; --n) {
      const size_t at = random() % damaged.size();
      switch (random() % 3) {
        case 0:
          damaged[at] = static_cast<char>(damaged[at] ^ (1 << random() % 8));
          break;
        case 1:
          damaged[at] = static_cast<char>(random() % 256);
          break;
        default: {
          constexpr uint64_t edges[] = {0,          1,           0x7fffffff,         0x80000000,
                                        0xffffffff, 0x100000000, 0x7fffffffffffffff, ~uint64_t{0} - 7};
          const uint64_t edge = edges[random() % std::size(edges)];
          std::memcpy(&damaged[at], &edge, std::min(sizeof(edge), damaged.size() - at));
        }
      }
    }
    accepted += open(damaged, fmt::format("seed {}, round {}", seed, i)) ? 1 : 0;
  }
  EXPECT_LT(accepted, rounds);
}

TEST(Hostile, EveryTruncationOfSafetensorsIsAnError) {
  every_truncation_fails(small_safetensors(), open_safetensors_bytes);
}

TEST(Hostile, EveryTruncationOfGgufIsAnError) { every_truncation_fails(small_gguf(), open_gguf_bytes); }

TEST(Hostile, DamagedSafetensorsNeverCrash) {
  random_damage_never_crashes(small_safetensors(), open_safetensors_bytes, 1, 20000);
}

TEST(Hostile, DamagedGgufNeverCrashes) { random_damage_never_crashes(small_gguf(), open_gguf_bytes, 2, 20000); }

// Damage in the values only, where the structure stays sound and the config is read.
TEST(Hostile, DamagedConfigNeverCrashes) {
  const std::string config = R"({"architectures":["Gemma3ForCausalLM"],"model_type":"gemma3_text","hidden_size":64,
    "num_hidden_layers":4,"num_attention_heads":4,"num_key_value_heads":2,"head_dim":32,"vocab_size":320,
    "layer_types":["sliding_attention","full_attention","sliding_attention","full_attention"],"eos_token_id":[1,106],
    "rope_parameters":{"full_attention":{"rope_type":"yarn","factor":4.0,"rope_theta":1e6,"attention_factor":1.5},
    "sliding_attention":{"rope_type":"default","rope_theta":10000.0}},"rms_norm_eps":1e-6,"torch_dtype":"bfloat16",
    "query_pre_attn_scalar":32,"sliding_window":24,"final_logit_softcapping":null,"max_position_embeddings":512})";
  const Opener open = [](const std::string& text, const std::string& what) {
    return accepts(what, [&] { config_from_json(parse_json(text, "x")); });
  };
  ASSERT_TRUE(open(config, "whole"));
  every_truncation_fails(config, open);
  random_damage_never_crashes(config, open, 3, 20000);
}

TEST(Hostile, ConfigFieldsOfEveryWrongTypeAreRefused) {
  const nlohmann::json good = nlohmann::json::parse(R"({"architectures":["Phi3ForCausalLM"],"model_type":"phi3",
    "hidden_size":64,"num_hidden_layers":2,"num_attention_heads":4,"num_key_value_heads":2,"head_dim":16,"vocab_size":320,
    "intermediate_size":160,"hidden_act":"silu","rms_norm_eps":1e-5,"rope_theta":10000.0,"sliding_window":24,
    "max_position_embeddings":512,"original_max_position_embeddings":128,"torch_dtype":"float32","tie_word_embeddings":false,
    "partial_rotary_factor":0.5,"bos_token_id":1,"eos_token_id":2,
    "rope_scaling":{"type":"longrope","short_factor":[1,1,1,1],"long_factor":[2,2,2,2]}})");
  config_from_json(good);
  const nlohmann::json wrong[] = {-5,
                                  1e300,
                                  0.3,
                                  "x",
                                  true,
                                  nlohmann::json::array(),
                                  nlohmann::json::object(),
                                  nlohmann::json::array({nullptr}),
                                  uint64_t{1} << 63,
                                  ""};
  for (const auto& [key, value] : good.items()) {
    for (const nlohmann::json& w : wrong) {
      nlohmann::json bad = good;
      bad[key] = w;
      accepts(key + " = " + w.dump(), [&] {
        const ModelConfig c = config_from_json(bad);
        // What is accepted is of a sound size.
        EXPECT_GE(c.num_layers, 0);
        EXPECT_LE(c.num_layers, 10000);
        EXPECT_GE(c.hidden_size, 0);
      });
    }
  }
}

// The files that make the most of few bytes: as many of the smallest things as fit.
TEST(Hostile, MemoryStaysInProportionToTheFile) {
  constexpr int kThings = 50000;
  std::vector<std::pair<const char*, std::string>> files;
  SafetensorsBuilder tensors, one_name;
  for (int i = 0; i < kThings; ++i) {
    tensors.add(fmt::format("{}", i), "I8", {}, "x");
    one_name.add("a", "I8", {0}, "");
  }
  files.emplace_back("safetensors: small tensors", tensors.build());
  files.emplace_back("safetensors: a name many times", one_name.build());
  files.emplace_back("safetensors: metadata", SafetensorsBuilder::with_header("{\"__metadata__\":{\"a\":\"" +
                                                                              std::string(1 << 20, 'b') + "\"}}"));
  GgufBuilder keys, small, arrays;
  std::string nested;
  for (int i = 0; i < kThings; ++i) {
    keys.key<uint8_t>(fmt::format("{:x}", i), 1);
    small.raw_tensor(fmt::format("{:x}", i), {0}, 0, 0);
    testing::append<uint32_t>(nested, GgufBuilder::U8);
    testing::append<uint64_t>(nested, 0);
  }
  std::string array;
  testing::append<uint32_t>(array, GgufBuilder::Array);
  testing::append<uint32_t>(array, GgufBuilder::Array);
  testing::append<uint64_t>(array, kThings);
  arrays.raw_key("a", array + nested);
  files.emplace_back("GGUF: keys", keys.build());
  files.emplace_back("GGUF: empty tensors", small.build());
  files.emplace_back("GGUF: empty arrays", arrays.build());
  for (const auto& [what, file] : files) {
    const size_t before = testing::allocated_bytes();
    accepts(what, [&, &f = file] {
      f[0] == 'G' ? static_cast<void>(GgufFile(as_bytes(f), "x"))
                  : static_cast<void>(parse_safetensors(as_bytes(f), "x"));
    });
    const size_t used = testing::allocated_bytes() - before;
    // What a growing vector leaves behind counts too, so the peak is about half of it.
    EXPECT_LT(used, 12 * file.size()) << what << ": " << used << " bytes for a file of " << file.size();
  }
}

TEST(Hostile, DeepJsonIsRefusedAtOnce) {
  for (const char* open : {"[", "{\"a\":"}) {
    std::string text;
    for (int i = 0; i < 1000000; ++i) text += open;
    try {
      parse_json(text, "config.json");
      FAIL() << "accepted";
    } catch (const Error& e) {
      EXPECT_EQ(e.kind(), ErrorKind::CorruptFile);
      EXPECT_NE(std::string(e.what()).find("64 levels"), std::string::npos) << e.what();
    }
  }
}

}  // namespace
}  // namespace sgl
