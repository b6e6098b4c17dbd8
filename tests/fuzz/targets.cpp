#include "fuzz/targets.h"

#include <atomic>
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <memory>

#include "base/log.h"
#include "checkpoint/config_json.h"
#include "checkpoint/gguf.h"
#include "checkpoint/packed_test_files.h"
#include "checkpoint/packed_weights.h"
#include "checkpoint/safetensors.h"
#include "checkpoint/test_files.h"
#include "grammar/grammar.h"
#include "server/answer_parser.h"
#include "server/fake_engine.h"
#include "server/http_parser.h"
#include "server/native_encode.h"
#include "server/native_generate.h"
#include "server/openai_chat.h"
#include "server/openai_completions.h"
#include "server/openai_embeddings.h"
#include "server/score.h"
#include "sgl/error.h"
#include "text/chat_template.h"
#include "text/tokenizer_json.h"
#include "tokenizers/load_gguf.h"

namespace sgl::fuzz {
namespace {

namespace fs = std::filesystem;
using Seeds = std::vector<std::string>;

const fs::path kTests = fs::path(SGL_SOURCE_DIR) / "tests";

std::string content_of(const fs::path& path) {
  std::ifstream in(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(in), {}};
}

void require(bool holds, const char* rule) {
  if (holds) return;
  std::fprintf(stderr, "broken: %s\n", rule);
  std::abort();
}

// For bytes that choose where an input is cut, or which way it goes: the first one, taken off.
unsigned take_byte(std::string_view& input) {
  if (input.empty()) return 0;
  const auto first = static_cast<unsigned char>(input.front());
  input.remove_prefix(1);
  return first;
}

// Every byte that is said to be the tensor's can be read.
void touch(const FileTensor& t) {
  static std::atomic<unsigned> sum{0};  // the reads are not optimised away
  if (!t.data.empty()) sum += static_cast<unsigned>(t.data.front()) + static_cast<unsigned>(t.data.back());
}

// ── Files of models ──────────────────────────────────────────────────────────────────────────────────────────────────

void run_gguf(std::string_view input) {
  const auto aligned = std::make_unique<std::byte[]>(input.size());
  std::copy_n(reinterpret_cast<const std::byte*>(input.data()), input.size(), aligned.get());
  const GgufFile file({aligned.get(), input.size()}, "fuzz.gguf");
  for (const FileTensor& t : file.tensors()) touch(t);
  for (const std::string_view key : file.keys()) {
    try {
      file.strings(key);
      file.string(key);
      file.number(key);
    } catch (const Error&) {  // of another type
    }
  }
  try {
    config_from_gguf(file);
  } catch (const Error&) {
  }
  const auto tokenizer = make_gguf_tokenizer(read_vocab(file));
  tokenizer->decode(tokenizer->encode("Hello, w\xc3\xb6rld!"));
}

Seeds gguf_seeds() {
  testing::GgufBuilder file;
  file.key("general.architecture", "llama").key("llama.block_count", uint32_t{1});
  file.key("llama.context_length", uint32_t{64}).key("llama.embedding_length", uint32_t{32});
  file.key("llama.feed_forward_length", uint32_t{64}).key("llama.attention.head_count", uint32_t{2});
  file.key("llama.attention.layer_norm_rms_epsilon", 1e-5F);
  file.key("tokenizer.ggml.model", "gpt2").key("tokenizer.ggml.pre", "llama-bpe");
  file.strings("tokenizer.ggml.tokens", {"H", "e", "l", "o", "ll", "<s>"});
  file.strings("tokenizer.ggml.merges", {"l l"});
  file.array("tokenizer.ggml.token_type", std::vector<int32_t>{1, 1, 1, 1, 1, 3});
  file.tensor("token_embd.weight", {32, 6}, 0, std::string(size_t{32} * 6 * 4, '\1'));
  file.tensor("blk.0.attn_q.weight", {32, 32}, 8, std::string(size_t{32} * 34, '\2'));
  return {file.build()};
}

void run_safetensors(std::string_view input) {
  const auto aligned = std::make_unique<std::byte[]>(input.size());
  std::copy_n(reinterpret_cast<const std::byte*>(input.data()), input.size(), aligned.get());
  for (const FileTensor& t : parse_safetensors({aligned.get(), input.size()}, "fuzz.safetensors")) touch(t);
}

Seeds safetensors_seeds() {
  const std::string header = R"({"a":{"dtype":"F32","shape":[2,2],"data_offsets":[0,16]},"b":{"dtype":"BF16",)"
                             R"("shape":[3],"data_offsets":[16,22]},"__metadata__":{"format":"pt"}})";
  std::string file;
  testing::append<uint64_t>(file, header.size());
  return {file + header + std::string(22, '\1')};
}

// One file as each writer's config reads it.
struct PackedFolders {
  PackedFolders() {
    log::init("error");  // a warning for each input says nothing
    const testing::Packing packings[] = {testing::awq(32),
                                         testing::gptq(-1, true),
                                         testing::compressed(128, false),
                                         {"fp8", R"({"quant_method":"fp8","weight_block_size":[16,64]})", {}}};
    for (int i = 0; i < 4; ++i) {
      folder[i].write("config.json",
                      R"({"architectures":["LlamaForCausalLM"],"quantization_config":)" + packings[i].config + "}");
      if (i > 0) fs::create_symlink(folder[0].path() + "/model.safetensors", folder[i].path() + "/model.safetensors");
    }
  }
  testing::TemporaryDirectory folder[4];
};

void run_packed(std::string_view input) {
  static const PackedFolders folders;
  folders.folder[0].write("model.safetensors", input);
  for (const testing::TemporaryDirectory& folder : folders.folder) {
    try {
      const auto checkpoint = Checkpoint::open(folder.path());
      for (const std::string_view name : checkpoint->names()) {
        if (const FileTensor& t = *checkpoint->find(name); t.packed != nullptr) unpack(t);
      }
    } catch (const Error&) {
    }
  }
}

Seeds packed_seeds() {
  Seeds out;
  for (const testing::Packing& p : {testing::awq(32), testing::gptq(-1, true), testing::compressed(128, false)}) {
    testing::SafetensorsBuilder file;
    p.add(file, "a.", testing::QuantizedMatrix(8, 128, p.name == "awq" ? 32 : 128, 1));
    out.push_back(file.build());
  }
  testing::SafetensorsBuilder fp8;
  fp8.add("a.weight", "F8_E4M3", {16, 128}, std::string(size_t{16} * 128, '\x38'));
  fp8.add_floats("a.weight_scale_inv", {1, 2}, {1.0F, 0.5F});
  out.push_back(fp8.build());
  return out;
}

void run_config(std::string_view input) {
  const nlohmann::json config = nlohmann::json::parse(input, nullptr, false);
  if (config.is_discarded()) return;
  ModelConfig c = config_from_json(config);
  add_generation(config, c);
}

Seeds config_seeds() {
  Seeds out;
  for (const auto& entry : fs::directory_iterator(kTests / "golden" / "models"))
    out.push_back(content_of(entry.path() / "config.json"));
  return out;
}

void run_tokenizer(std::string_view input) {
  static const testing::TemporaryDirectory folder;
  folder.write("tokenizer.json", input);
  const auto tokenizer = load_tokenizer_json(folder.path());
  tokenizer->decode(tokenizer->encode("Hello, w\xc3\xb6rld! \xe6\x97\xa5\xe6\x9c\xac 12345  \n\n<s>"));
}

Seeds tokenizer_seeds() {
  Seeds out;
  for (const auto& entry : fs::directory_iterator(kTests / "tokenizers" / "small"))
    out.push_back(content_of(entry.path() / "tokenizer.json"));
  return out;
}

void run_chat_template(std::string_view input) {
  ChatPrompt chat;
  chat.messages.push_back({.role = "system", .parts = {{ContentPart::Type::Text, "Be brief."}}});
  chat.messages.push_back({.role = "user", .parts = {{ContentPart::Type::Text, "Hi"}, {ContentPart::Type::Text, "!"}}});
  chat.messages.push_back({.role = "assistant", .tool_calls = {{"1", "f", R"({"a":[1]})"}}});
  chat.messages.push_back({.role = "tool", .parts = {{ContentPart::Type::Text, "2"}}, .tool_call_id = "1"});
  chat.tools_json = R"([{"type":"function","function":{"name":"f","parameters":{"type":"object"}}}])";
  ChatTemplate(std::string(input), "<s>", "</s>").render(chat);
}

Seeds chat_template_seeds() {
  Seeds out;
  for (const std::string& name : builtin_chat_templates()) out.emplace_back(find_builtin_chat_template(name));
  return out;
}

// ── Requests ─────────────────────────────────────────────────────────────────────────────────────────────────────────

// The first byte chooses the route.
void run_json(std::string_view input) {
  static FakeEngine engine;
  static const ServerOptions options;
  static const ChatFormats formats = choose_chat_formats(options, engine);
  const unsigned route = take_byte(input) % 7;
  const Json body = parse_json(input);
  if (route == 0) parse_generate(body, engine, options);
  if (route == 1) parse_chat(body, engine, options, formats);
  if (route == 2) parse_completions(body, engine, options);
  if (route == 3) parse_embeddings(body, engine);
  if (route == 4) parse_encode(body, engine);
  if (route == 5) parse_score(body, engine);
  if (route == 6) parse_rerank(body, engine);
}

Seeds json_seeds() {
  return {
      std::string(1, '\0') + R"({"text":["a","b"],"sampling_params":{"max_new_tokens":5,"stop":["x"],"regex":"a+",)"
                             R"("logit_bias":{"5":1.5}},"return_logprob":[true,false],"rid":"r","stream":true})",
      "\1"
      R"({"messages":[{"role":"user","content":[{"type":"text","text":"hi"}]},{"role":"assistant","tool_calls":)"
      R"([{"id":"1","function":{"name":"f","arguments":"{}"}}]}],"tools":[{"type":"function","function":{"name":"f",)"
      R"("parameters":{"type":"object","properties":{"a":{"type":"string"}}},"strict":true}}],"tool_choice":"required",)"
      R"("response_format":{"type":"json_schema","json_schema":{"name":"n","schema":{"type":"object"}}},"n":2})",
      "\2"
      R"({"prompt":[[1,2],[3]],"max_tokens":4,"echo":true,"logprobs":2,"stream_options":{"include_usage":true}})",
      "\3"
      R"({"input":["a",{"text":"b"}],"encoding_format":"base64","dimensions":4})",
      "\4"
      R"({"text":["a","b"],"is_cross_encoder_request":false,"dimensions":2,"rid":["x","y"]})",
      "\5"
      R"({"query":"q","items":["a","b"],"label_token_ids":[1,2],"apply_softmax":true})",
      "\6"
      R"({"query":"q","documents":["a","b"],"top_n":1,"return_documents":true})"};
}

struct Parsed {
  HttpParser::State state;
  std::string error, method, path, body;
  size_t consumed = 0;
  bool operator==(const Parsed&) const = default;
};

// The first request in `input`, which comes in pieces of `step` bytes.
Parsed parse_http(std::string_view input, size_t step, size_t max_header_bytes) {
  HttpParser parser(max_header_bytes, 4096, 512);
  std::string waiting;
  Parsed out{HttpParser::State::Header, {}, {}, {}, {}, 0};
  for (size_t at = 0; at < input.size(); at += step) {
    waiting += input.substr(at, step);
    const size_t n = parser.feed(waiting);
    require(n <= waiting.size(), "a parser consumes no more than it is given");
    waiting.erase(0, n);
    out.consumed += n;
    if (parser.state() == HttpParser::State::Failed || parser.state() == HttpParser::State::Done) break;
  }
  out.state = parser.state();
  if (out.state == HttpParser::State::Failed) out.error = parser.error_message(), out.consumed = 0;
  if (out.state == HttpParser::State::Done) {
    HttpRequest request = parser.take();
    out.method = request.method, out.path = request.path, out.body = request.body;
  } else {
    out.consumed = 0;
  }
  return out;
}

// The first byte is the size of the pieces. Bytes of value 1 behind it stand for as many letters as 16 bits cannot
// count, since inputs are shorter; then the limit of the header is beyond them.
void run_http(std::string_view input) {
  constexpr size_t kMany = 66'000, kMostRuns = 4;
  size_t step = take_byte(input) + 1, runs = 0;
  std::string bytes;
  for (const char c : input) {
    if (c == 1 && runs++ < kMostRuns) {
      bytes.append(kMany, 'a');
    } else {
      bytes += c;
    }
  }
  const size_t max_header_bytes = runs > 0 ? size_t{1} << 20 : 2048;
  if (runs > 0) step *= 1024;  // a line that has not ended is read anew with each piece
  const Parsed pieces = parse_http(bytes, step, max_header_bytes),
               whole = parse_http(bytes, bytes.size() + 1, max_header_bytes);
  // A mistake may be seen earlier or later, and one of several first; but nobody gets a request out of it.
  const bool none = pieces.state != HttpParser::State::Done && whole.state != HttpParser::State::Done;
  require(none || pieces == whole, "a request is the same however it is cut");
}

Seeds http_seeds() {
  return {"\3GET /v1/models?x=%41 HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer k\r\n\r\n",
          "\7POST /generate HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\nExpect: 100-continue\r\n\r\nhello"
          "GET / HTTP/1.0\r\n\r\n",
          "\1POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n5;a=b\r\nhello\r\n0\r\nX: y\r\n\r\n",
          "\2GET / HTTP/1.1\r\nHost: a\r\nX: \1\r\n\r\n",
          "\2GET / HTTP/1.1\r\nHost: a\r\n\1: x\r\n\r\n",
          "\1POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\nX: \1\r\n\r\n"};
}

std::string joined(const std::vector<AnswerPiece>& pieces) {
  std::string out;
  AnswerPiece::Kind last = AnswerPiece::Kind::Arguments;
  bool first = true;
  for (const AnswerPiece& piece : pieces) {
    if (piece.text.empty() && piece.kind != AnswerPiece::Kind::Call) continue;
    if (first || piece.kind != last || piece.kind == AnswerPiece::Kind::Call) {
      out += '\x01';
      out += static_cast<char>('0' + static_cast<int>(piece.kind));
    }
    out += piece.text;
    last = piece.kind;
    first = false;
  }
  return out;
}

// The first byte chooses the format of calls, the second that of thoughts, the third the size of the pieces.
void run_answer(std::string_view input) {
  static const std::vector<std::string> names = tool_parser_names();
  static const std::vector<std::string> thoughts = reasoning_parser_names();
  const unsigned tools = take_byte(input), thinking = take_byte(input);
  const size_t step = take_byte(input) % 16 + 1;
  auto format = std::make_shared<AnswerFormat>();
  format->tools_format = find_tool_format(names[tools % names.size()]);
  format->tools = {{"f", "", Json::parse(R"({"type":"object","properties":{"a":{"type":"string"}}})"), false},
                   {"ff", "", {}, false}};
  if (const unsigned t = thinking % static_cast<unsigned>(thoughts.size() + 1); t > 0) {
    format->reasoning = find_reasoning_tags(thoughts[t - 1]);
  }
  std::vector<AnswerPiece> whole, pieces;
  AnswerParser(format).push(input, true, whole);
  AnswerParser parser(format);
  for (size_t at = 0; at < input.size(); at += step) parser.push(input.substr(at, step), false, pieces);
  parser.push("", true, pieces);
  require(joined(whole) == joined(pieces), "an answer is the same however it is cut");
}

Seeds answer_seeds() {
  Seeds out;
  for (char f = 0; f < static_cast<char>(tool_parser_names().size()); ++f) {
    const std::string head = {f, f, '\2'};
    out.push_back(head +
                  "<think>so</think>I look.<tool_call>{\"name\": \"f\", \"arguments\": {\"a\": \"b\"}}</tool_call>");
    out.push_back(head + "[TOOL_CALLS][{\"name\":\"f\",\"arguments\":{\"a\":[1,{}]}}] [f(a=\"x\", b=[1, None]), ff()]");
    out.push_back(head +
                  "<tool_call><function=f><parameter=a>\ntext\n</parameter></function></tool_call> "
                  "<|python_tag|>{\"name\": \"ff\", \"parameters\": {}}; {\"name\": \"f\", \"parameters\": {}}");
  }
  return out;
}

// The first byte chooses the kind.
void run_grammar(std::string_view input) {
  constexpr GrammarKind kKinds[] = {GrammarKind::Regex, GrammarKind::JsonSchema, GrammarKind::Ebnf,
                                    GrammarKind::StructuralTag};
  const unsigned choice = take_byte(input);
  GrammarSpec spec{kKinds[choice % 4], std::string(input), {}};
  spec.options.compact = (choice & 4U) != 0;
  const auto grammar = std::make_shared<const Grammar>(spec, nullptr);
  GrammarMatcher matcher(grammar);
  for (const char* text : {"a", "{\"a\":1}", "[]", "\"x\"", "12", "\n"}) {
    if (GrammarMatcher copy = matcher.clone(); copy.accept_text(text)) copy.jump_forward();
  }
}

Seeds grammar_seeds() {
  return {std::string(1, '\0') + R"((\w+|[^a-z\d]{2,5})*\s?(?:x|\u00e9|.)$)",
          "\1"
          R"({"type":"object","properties":{"a":{"type":"string","pattern":"^[a-z]+$","maxLength":5},"b":{"$ref":)"
          R"("#/$defs/n"}},"required":["a"],"additionalProperties":{"type":["integer","null"],"multipleOf":3},)"
          R"("$defs":{"n":{"anyOf":[{"type":"array","items":{"$ref":"#/$defs/n"},"maxItems":3},{"const":1.5}]}}})",
          "\2root ::= \"a\" (rule | [b-z]+)* \"\\n\"?\nrule ::= \"(\" root{1,3} \")\" # comment\n",
          "\3"
          R"({"type":"structural_tag","format":{"type":"triggered_tags","triggers":["<f"],"tags":[{"begin":"<f>",)"
          R"("content":{"type":"json_schema","json_schema":{"type":"integer"}},"end":"</f>"}]}})"};
}

constexpr Target kTargets[] = {
    {"gguf", run_gguf, gguf_seeds},
    {"safetensors", run_safetensors, safetensors_seeds},
    {"packed", run_packed, packed_seeds},
    {"config", run_config, config_seeds},
    {"tokenizer", run_tokenizer, tokenizer_seeds},
    {"chat_template", run_chat_template, chat_template_seeds},
    {"json", run_json, json_seeds},
    {"http", run_http, http_seeds},
    {"answer", run_answer, answer_seeds},
    {"grammar", run_grammar, grammar_seeds},
};

}  // namespace

std::span<const Target> targets() { return kTargets; }

}  // namespace sgl::fuzz
