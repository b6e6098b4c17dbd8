// sgl grammar: what a grammar accepts, the masks it gives for a vocabulary, what they cost, and its automaton.

#include "grammar/grammar.h"

#include <algorithm>
#include <chrono>
#include <fstream>
#include <functional>
#include <istream>
#include <iterator>
#include <memory>
#include <optional>
#include <ostream>
#include <string>
#include <utility>
#include <vector>

#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include "cli/cli.h"
#include "cli/flags.h"
#include "grammar/explain.h"
#include "grammar/token_vocabulary.h"
#include "sgl/error.h"
#include "sgl/tokenizer.h"
#include "text/tokenizer_json.h"

namespace sgl::cli {
namespace {

using Json = nlohmann::json;
using Clock = std::chrono::steady_clock;

struct GrammarFlags {
  std::string schema, ebnf, structural_tag, accepts, bench, masks, tokenizer, explain, sample;
  std::optional<std::string> regex;
  bool compact = false, closed = false;
};

bool parse(const std::vector<std::string>& arguments, World& world, GrammarFlags& g) {
  Flags f(
      "grammar",
      "sgl grammar (--json-schema FILE | --regex PATTERN | --ebnf FILE) [--compact] --accepts FILE\n"
      "       sgl grammar (…) --tokenizer PATH (--bench FILE | --masks FILE)\n"
      "       sgl grammar (…) --explain text",
      "Compiles a grammar as the server does and shows what it is. Without one of --accepts, --bench, --masks and "
      "--explain it only says whether it compiles. A grammar that cannot be compiled gives status 2 and one line that "
      "names the keyword and its place. FILE may be - for the standard input.");
  f.group("The grammar, one of");
  f.text("--json-schema", g.schema, "FILE", "a JSON Schema (draft 2020-12 and what older drafts call the same)");
  f.text_to(
      "--regex", [&g](const std::string& s) { g.regex = s; }, "PATTERN",
      "a regular expression, as re.fullmatch takes it");
  f.text("--ebnf", g.ebnf, "FILE", "a grammar in GBNF, with the rule root");
  f.text("--structural-tag", g.structural_tag, "FILE", "a structural tag");
  f.toggle("--compact", g.compact, "JSON without white space between tokens");
  f.toggle("--closed", g.closed, "objects with properties have no others, unless the schema speaks of them");
  f.group("What to do");
  f.text("--accepts", g.accepts, "FILE",
         "JSON strings, one a line; prints accept or reject for each, reject for what is in quotes and no string");
  f.text("--bench", g.bench, "FILE",
         "JSON strings, one a line, walked token by token; prints a JSON object with times for each");
  f.text("--masks", g.masks, "FILE",
         "the same walks; prints before each token how many tokens are allowed and the FNV-1a hash of their ids");
  f.choice("--explain", g.explain, {"text", "dot", "svg"}, "prints the automaton; text if it says nothing else");
  f.text("--sample", g.sample, "TEXT", "--explain marks the way of this text, and what of it is forced");
  f.text("--tokenizer", g.tokenizer, "PATH", "a directory with a tokenizer.json, or that file");
  std::vector<std::string> given = arguments;
  for (size_t i = 0; i < given.size(); ++i) {
    const bool alone = i + 1 == given.size() || given[i + 1].starts_with("--");
    if (given[i] == "--explain" && alone) given[i] = "--explain=text";
  }
  if (!f.parse(given, world.out, world.columns)) return false;

  int grammars =
      (g.schema.empty() ? 0 : 1) + (g.regex ? 1 : 0) + (g.ebnf.empty() ? 0 : 1) + (g.structural_tag.empty() ? 0 : 1);
  if (grammars != 1) throw UsageError("give one of --json-schema FILE, --regex PATTERN, --ebnf FILE");
  if ((!g.bench.empty() || !g.masks.empty()) && g.tokenizer.empty()) {
    throw UsageError("--bench and --masks need --tokenizer PATH");
  }
  return true;
}

std::string read_file(const std::string& path, World& world) {
  if (path == "-") return {std::istreambuf_iterator<char>(world.in), {}};
  std::ifstream file(path, std::ios::binary);
  std::string text(std::istreambuf_iterator<char>(file), {});
  if (!file) throw UsageError(cannot_read(path));
  return text;
}

GrammarSpec read_spec(const GrammarFlags& g, World& world) {
  GrammarSpec spec;
  spec.options.compact = g.compact;
  spec.options.closed_objects = g.closed;
  if (g.regex) {
    spec.kind = GrammarKind::Regex;
    spec.text = *g.regex;
  } else if (!g.schema.empty()) {
    spec.kind = GrammarKind::JsonSchema;
    spec.text = read_file(g.schema, world);
  } else if (!g.ebnf.empty()) {
    spec.kind = GrammarKind::Ebnf;
    spec.text = read_file(g.ebnf, world);
  } else {
    spec.kind = GrammarKind::StructuralTag;
    spec.text = read_file(g.structural_tag, world);
  }
  return spec;
}

/// Calls `use` for each line's string; null for what is in quotes and no string, such as half a character ("\ud800").
void for_each_string(const std::string& path, World& world, const std::function<void(const std::string*)>& use) {
  std::ifstream file;
  if (path != "-") {
    file.open(path, std::ios::binary);
    if (!file) throw UsageError(cannot_read(path));
  }
  std::istream& in = path == "-" ? world.in : file;
  std::string line;
  for (size_t number = 1; std::getline(in, line); ++number) {
    if (line.empty() || line == "\r") continue;
    Json value = Json::parse(line, nullptr, false);
    const bool quoted = line.front() == '"' && line.rfind('"') > 0;
    if (!value.is_string() && !quoted) {
      throw Error(ErrorKind::InvalidArgument, fmt::format("{}, line {}: expected a JSON string", path, number));
    }
    use(value.get_ptr<const std::string*>());
  }
}

std::unique_ptr<Tokenizer> load_tokenizer(std::string path) {
  constexpr std::string_view kName = "tokenizer.json";
  if (path.ends_with(kName)) path.resize(path.size() - kName.size());
  return load_tokenizer_json(path.empty() ? "." : path);
}

double micros(Clock::duration d) { return std::chrono::duration<double, std::micro>(d).count(); }

double quantile(std::vector<double> sorted, double q) {
  if (sorted.empty()) return 0;
  std::sort(sorted.begin(), sorted.end());
  return sorted[std::min(sorted.size() - 1, static_cast<size_t>(q * static_cast<double>(sorted.size())))];
}

void bench(const std::shared_ptr<const Grammar>& grammar, double compile_ms, const Tokenizer& tokenizer,
           const std::string& text, World& world) {
  std::vector<int32_t> ids = tokenizer.encode(text, false);
  std::vector<uint32_t> mask(grammar->vocabulary()->mask_words());
  GrammarMatcher matcher(grammar);
  std::vector<double> times;
  size_t forced = 0;
  bool accepted = true;
  for (int32_t id : ids) {
    auto start = Clock::now();
    matcher.fill_mask(mask);
    times.push_back(micros(Clock::now() - start));
    const std::string& bytes = grammar->vocabulary()->bytes(id);
    if (!bytes.empty() && matcher.jump_forward().starts_with(bytes)) ++forced;
    if (!(accepted = matcher.accept(id))) break;
  }
  double sum = 0;
  for (double t : times) sum += t;
  double mean = times.empty() ? 0 : sum / static_cast<double>(times.size());
  world.out << fmt::format(
      "{{\"compile_ms\": {:.3f}, \"tokens\": {}, \"mask_us_p50\": {:.2f}, \"mask_us_p99\": {:.2f}, \"mask_us_mean\": "
      "{:.2f}, "
      "\"mask_us_max\": {:.2f}, \"forced_tokens\": {}, \"accepted\": {}}}\n",
      compile_ms, ids.size(), quantile(times, 0.5), quantile(times, 0.99), mean, quantile(times, 1), forced,
      accepted && matcher.complete());
}

/// FNV-1a over the ids as little-endian 32-bit numbers.
void print_masks(const std::shared_ptr<const Grammar>& grammar, const Tokenizer& tokenizer, const std::string& text,
                 World& world) {
  std::vector<uint32_t> mask(grammar->vocabulary()->mask_words());
  GrammarMatcher matcher(grammar);
  for (int32_t id : tokenizer.encode(text, false)) {
    matcher.fill_mask(mask);
    uint64_t hash = 0xCBF29CE484222325;
    size_t count = 0;
    for (uint32_t i = 0; i < mask.size() * 32; ++i) {
      if ((mask[i / 32] >> (i % 32) & 1) == 0) continue;
      ++count;
      for (int byte = 0; byte < 4; ++byte) hash = (hash ^ (i >> (8 * byte) & 0xFF)) * 0x100000001B3;
    }
    world.out << fmt::format("{} {:016x}\n", count, hash);
    if (!matcher.accept(id)) break;
  }
}

}  // namespace

int grammar(const std::vector<std::string>& arguments, World& world) {
  GrammarFlags g;
  if (!parse(arguments, world, g)) return 0;
  GrammarSpec spec = read_spec(g, world);
  std::unique_ptr<Tokenizer> tokenizer;
  std::shared_ptr<const grammar::TokenVocabulary> vocabulary;
  if (!g.tokenizer.empty()) {
    tokenizer = load_tokenizer(g.tokenizer);
    vocabulary = grammar::TokenVocabulary::of(*tokenizer);
  }
  std::shared_ptr<const Grammar> compiled;
  std::optional<GrammarCompiler> compiler;  // made once for a model
  if (vocabulary != nullptr) compiler.emplace(vocabulary);
  auto start = Clock::now();
  try {
    compiled = compiler ? compiler->compile(spec) : std::make_shared<const Grammar>(spec, vocabulary);
    if (compiled->matches_nothing() && g.accepts.empty()) {  // which --accepts answers: it rejects each text
      throw Error(ErrorKind::InvalidArgument, "the grammar matches no text at all: its parts contradict each other");
    }
  } catch (const Error& e) {
    throw UsageError(e.what());  // status 2: the grammar is what the command line gave
  }
  double compile_ms = micros(Clock::now() - start) / 1000;

  if (!g.accepts.empty()) {
    for_each_string(g.accepts, world, [&](const std::string* text) {
      world.out << (text != nullptr && compiled->matches(*text) ? "accept\n" : "reject\n");
    });
  }
  if (!g.bench.empty()) {
    for_each_string(g.bench, world, [&](const std::string* text) {
      bench(compiled, compile_ms, *tokenizer, text != nullptr ? *text : "\xFF", world);
    });
  }
  if (!g.masks.empty()) {
    for_each_string(g.masks, world, [&](const std::string* text) {
      if (text != nullptr) print_masks(compiled, *tokenizer, *text, world);
    });
  }
  if (!g.explain.empty()) {
    auto form = g.explain == "dot"   ? grammar::ExplainForm::Dot
                : g.explain == "svg" ? grammar::ExplainForm::Svg
                                     : grammar::ExplainForm::Text;
    world.out << grammar::explain(*compiled, form, g.sample);
  } else if (g.accepts.empty() && g.bench.empty() && g.masks.empty()) {
    world.out << fmt::format("compiled in {:.2f} ms\n", compile_ms);
  }
  return 0;
}

}  // namespace sgl::cli
