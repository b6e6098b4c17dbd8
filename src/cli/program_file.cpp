#include "cli/program_file.h"

#include <algorithm>
#include <cctype>
#include <charconv>
#include <functional>
#include <initializer_list>
#include <optional>
#include <regex>
#include <utility>

#include <fmt/format.h>
#include <nlohmann/json.hpp>
#include <yaml-cpp/yaml.h>

#include "cli/flags.h"
#include "sgl/error.h"

namespace sgl::cli {
namespace {

using Json = nlohmann::ordered_json;

class Parser {
 public:
  explicit Parser(std::string path) : path_(std::move(path)) {}

  ProgramFile parse(const std::string& text) {
    YAML::Node root;
    try {
      root = YAML::Load(text);
    } catch (const YAML::Exception& error) {
      fail(error.mark.line + 1, error.msg);
    }
    check_keys(root, "a program", {"args", "options", "steps", "output"});
    ProgramFile out;
    out.path = path_;
    if (const YAML::Node args = root["args"]) read_arguments(args, out);
    if (root["options"]) out.options = options(root["options"]);
    out.steps = steps(require(root, "a program", "steps"));
    if (root["output"]) {
      out.output = text_of(root["output"]);
      out.output_line = root["output"].Mark().line + 1;
    }
    return out;
  }

 private:
  [[noreturn]] void fail(int line, const std::string& message) const {
    throw Error(ErrorKind::InvalidArgument, fmt::format("{}:{}: {}", path_, line, message));
  }
  [[noreturn]] void fail(const YAML::Node& at, const std::string& message) const { fail(at.Mark().line + 1, message); }

  void check_keys(const YAML::Node& map, const std::string& what, std::initializer_list<const char*> keys) const {
    if (!map.IsMap()) fail(map, fmt::format("{} must be a map of {}", what, fmt::join(keys, ", ")));
    const std::vector<std::string> known(keys.begin(), keys.end());
    for (const auto& entry : map) {
      const std::string key = scalar(entry.first);
      if (std::find(known.begin(), known.end(), key) != known.end()) continue;
      const std::string near = nearest(key, known);
      fail(entry.first, fmt::format("unknown key '{}' in {}; {}", key, what,
                                    near.empty() ? fmt::format("expected one of {}", fmt::join(keys, ", "))
                                                 : fmt::format("did you mean '{}'?", near)));
    }
  }

  YAML::Node require(const YAML::Node& map, const std::string& what, const char* key) const {
    if (!map[key]) fail(map, fmt::format("{} needs '{}'", what, key));
    return map[key];
  }

  std::string scalar(const YAML::Node& node) const {
    if (!node.IsScalar()) fail(node, "expected a text");
    return node.Scalar();
  }

  std::string name_of(const YAML::Node& node) const {
    const std::string name = scalar(node);
    const bool good = !name.empty() && std::all_of(name.begin(), name.end(),
                                                   [](unsigned char c) { return std::isalnum(c) != 0 || c == '_'; });
    if (!good) fail(node, fmt::format("'{}' is no name; expected letters, digits and _", name));
    return name;
  }

  Template text_of(const YAML::Node& node) const {
    const std::string text = scalar(node);
    Template out;
    std::string plain;
    for (size_t i = 0; i < text.size(); ++i) {
      const char c = text[i];
      if ((c == '{' || c == '}') && i + 1 < text.size() && text[i + 1] == c) {
        plain += c;
        ++i;
      } else if (c == '{') {
        const size_t end = text.find('}', i);
        if (end == std::string::npos) fail(node, "a '{' without '}'; write {{ for a brace");
        if (!plain.empty()) out.parts.push_back({.text = std::exchange(plain, {})});
        out.parts.push_back(reference(node, text.substr(i + 1, end - i - 1)));
        i = end;
      } else if (c == '}') {
        fail(node, "a '}' without '{'; write }} for a brace");
      } else {
        plain += c;
      }
    }
    if (!plain.empty()) out.parts.push_back({.text = std::move(plain)});
    return out;
  }

  Template::Part reference(const YAML::Node& node, const std::string& text) const {
    static const std::regex pattern(R"(([A-Za-z0-9_]+)(?:\[([0-9]{1,6})\])?)");
    std::smatch match;
    if (!std::regex_match(text, match, pattern)) {
      fail(node, fmt::format("'{{{}}}' is no name; expected {{name}} or {{name[0]}}, and {{{{ for a brace", text));
    }
    return {.text = {}, .name = match[1], .index = match[2].matched ? std::stoi(match[2]) : -1};
  }

  template <class T>
  std::optional<T> number(const YAML::Node& node) const {
    if (!node) return std::nullopt;
    const std::string text = scalar(node);
    T value{};
    const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
    if (error != std::errc() || end != text.data() + text.size()) {
      fail(node, fmt::format("expected {}, got '{}'", std::is_integral_v<T> ? "a whole number" : "a number", text));
    }
    return value;
  }

  std::optional<bool> boolean(const YAML::Node& node) const {
    if (!node) return std::nullopt;
    const std::string text = scalar(node);
    if (text != "true" && text != "false") fail(node, fmt::format("expected true or false, got '{}'", text));
    return text == "true";
  }

  std::vector<std::string> texts(const YAML::Node& node) const {
    if (node.IsScalar()) return {node.Scalar()};
    if (!node.IsSequence()) fail(node, "expected a text or a list of texts");
    std::vector<std::string> out;
    for (const YAML::Node& item : node) out.push_back(scalar(item));
    return out;
  }

  /// YAML as JSON: what is not quoted and looks like a number, true, false or null is one.
  Json json(const YAML::Node& node) const {
    if (node.IsNull()) return nullptr;
    if (node.IsScalar()) {
      if (node.Tag() == "!") return node.Scalar();  // quoted
      const Json value = Json::parse(node.Scalar(), nullptr, false);
      return value.is_primitive() && !value.is_discarded() ? value : Json(node.Scalar());
    }
    if (node.IsSequence()) {
      Json out = Json::array();
      for (const YAML::Node& item : node) out.push_back(json(item));
      return out;
    }
    Json out = Json::object();
    for (const auto& entry : node) out[scalar(entry.first)] = json(entry.second);
    return out;
  }

  void read_options(const YAML::Node& n, GenOptions& o) const {
    o.max_tokens = number<int>(n["max_tokens"]);
    o.min_tokens = number<int>(n["min_tokens"]);
    o.n = number<int>(n["n"]);
    o.temperature = number<double>(n["temperature"]);
    o.top_p = number<double>(n["top_p"]);
    o.top_k = number<int>(n["top_k"]);
    o.min_p = number<double>(n["min_p"]);
    o.frequency_penalty = number<double>(n["frequency_penalty"]);
    o.presence_penalty = number<double>(n["presence_penalty"]);
    o.repetition_penalty = number<double>(n["repetition_penalty"]);
    o.ignore_eos = boolean(n["ignore_eos"]);
    o.seed = number<int64_t>(n["seed"]);
    if (n["stop"]) o.stop = texts(n["stop"]);
    if (n["stop_regex"]) o.stop_regex = texts(n["stop_regex"]);
    if (n["regex"]) o.regex = scalar(n["regex"]);
    if (n["ebnf"]) o.ebnf = scalar(n["ebnf"]);
    if (n["json_schema"])
      o.json_schema = n["json_schema"].IsScalar() ? n["json_schema"].Scalar() : json(n["json_schema"]).dump();
  }

#define SGL_OPTION_KEYS                                                                                               \
  "max_tokens", "min_tokens", "n", "temperature", "top_p", "top_k", "min_p", "frequency_penalty", "presence_penalty", \
      "repetition_penalty", "ignore_eos", "seed", "stop", "stop_regex", "regex", "ebnf", "json_schema"

  GenOptions options(const YAML::Node& node) const {
    check_keys(node, "options", {SGL_OPTION_KEYS});
    GenOptions out;
    read_options(node, out);
    checked(node, [&] { gen("options", out); });
    return out;
  }

  /// Runs what makes an expression, so that its complaints have a line.
  template <class F>
  void checked(const YAML::Node& at, F f) const {
    try {
      f();
    } catch (const Error& error) {
      fail(at, error.what());
    }
  }

  void read_arguments(const YAML::Node& node, ProgramFile& out) const {
    if (!node.IsMap())
      fail(node, "args must be a map from names to defaults; one without a default has none: 'question:'");
    for (const auto& entry : node) {
      const std::string name = name_of(entry.first);
      if (entry.second.IsNull())
        out.required.push_back(name);
      else if (entry.second.IsSequence())
        out.arguments[name] = texts(entry.second);
      else
        out.arguments[name] = scalar(entry.second);
    }
  }

  std::vector<Step> steps(const YAML::Node& node) const {
    if (!node.IsSequence()) fail(node, "expected a list of steps, each with '- ' before it");
    std::vector<Step> out;
    for (const YAML::Node& item : node) out.push_back(step(item));
    return out;
  }

  /// What stands in a turn or a branch: a text, or steps.
  std::vector<Step> content(const YAML::Node& node) const {
    return node.IsScalar() ? std::vector<Step>{text_step(node)} : steps(node);
  }

  Step text_step(const YAML::Node& node) const {
    return {.kind = Step::Kind::Text, .line = node.Mark().line + 1, .text = text_of(node)};
  }

  Step step(const YAML::Node& item) const {
    if (item.IsScalar()) return text_step(item);
    if (!item.IsMap() || item.size() == 0) fail(item, "expected a step: a text, or one of " + std::string(kSteps));
    const YAML::Node first = item.begin()->first;
    const std::string key = scalar(first);
    const YAML::Node value = item.begin()->second;
    Step out;
    if (key == "text")
      out = text_step(value);
    else if (key == "gen")
      out = gen_step(value);
    else if (key == "select")
      out = select_step(value);
    else if (key == "system" || key == "user" || key == "assistant")
      out = {.kind = Step::Kind::Turn, .name = key, .steps = content(value)};
    else if (key == "capture")
      out = capture_step(value);
    else if (key == "fork")
      out = fork_step(value);
    else if (key == "for")
      out = for_step(value);
    else if (key == "if")
      out = if_step(item);
    else if (key == "set")
      out = set_step(value);
    else if (key == "print")
      out = {.kind = Step::Kind::Print, .text = text_of(value)};
    else {
      const std::string near = nearest(key, {"text", "gen", "select", "system", "user", "assistant", "capture", "fork",
                                             "for", "if", "set", "print"});
      fail(first, fmt::format("unknown step '{}'; {}", key,
                              near.empty() ? "expected one of " + std::string(kSteps)
                                           : fmt::format("did you mean '{}'?", near)));
    }
    if (item.size() > 1 && key != "if")
      fail(item, fmt::format("a step has one key; put '- ' before each of them ('{}' and others)", key));
    out.line = first.Mark().line + 1;
    return out;
  }

  Step gen_step(const YAML::Node& node) const {
    Step out{.kind = Step::Kind::Gen};
    if (node.IsScalar()) {
      out.name = name_of(node);
      return out;
    }
    check_keys(node, "gen", {"name", "type", "reasoning", SGL_OPTION_KEYS});
    if (node["name"]) out.name = name_of(node["name"]);
    if (node["reasoning"]) out.reasoning = scalar(node["reasoning"]);
    if (node["type"]) out.type = scalar(node["type"]);
    if (!out.type.empty() && out.type != "int" && out.type != "float" && out.type != "bool" && out.type != "str") {
      fail(node["type"], fmt::format("type must be int, float, bool or str, got '{}'", out.type));
    }
    read_options(node, out.options);
    checked(node, [&] { gen(out.name, out.options); });
    if (!out.reasoning.empty()) checked(node, [&] { separate_reasoning(gen(out.name), out.reasoning); });
    return out;
  }

  Step select_step(const YAML::Node& node) const {
    check_keys(node, "select", {"name", "choices", "method"});
    Step out{.kind = Step::Kind::Select};
    if (node["name"]) out.name = name_of(node["name"]);
    const YAML::Node choices = require(node, "select", "choices");
    if (!choices.IsSequence() || choices.size() == 0)
      fail(choices, "choices must be a list of texts that is not empty");
    for (const YAML::Node& choice : choices) out.list.push_back(text_of(choice));
    out.method = node["method"] ? scalar(node["method"]) : "token_length_normalized";
    if (out.method != "token_length_normalized" && out.method != "greedy_token_selection" &&
        out.method != "unconditional_likelihood_normalized") {
      fail(node["method"], fmt::format("method must be token_length_normalized, greedy_token_selection or "
                                       "unconditional_likelihood_normalized, got '{}'",
                                       out.method));
    }
    return out;
  }

  Step capture_step(const YAML::Node& node) const {
    check_keys(node, "capture", {"name", "steps"});
    return {.kind = Step::Kind::Capture,
            .name = name_of(require(node, "capture", "name")),
            .steps = steps(require(node, "capture", "steps"))};
  }

  /// What fork and for have in common: how often, and what each turn is called.
  void read_elements(const YAML::Node& node, const std::string& what, const char* count, int most, Step& out) const {
    out.name = node["as"] ? name_of(node["as"]) : "i";
    if (const YAML::Node each = node["each"]) {
      if (each.IsSequence()) {
        for (const YAML::Node& item : each) out.list.push_back(text_of(item));
      } else {
        out.list_name = name_of(each);
      }
    }
    if (node[count]) out.times = *number<int>(node[count]);
    const int given = (node["each"] ? 1 : 0) + (node[count] ? 1 : 0);
    if (given != 1) fail(node, fmt::format("{} needs either '{}: NUMBER' or 'each: LIST'", what, count));
    if (node[count] && (out.times < 1 || out.times > most))
      fail(node[count], fmt::format("{} must be in [1, {}], got {}", count, most, out.times));
    out.steps = steps(require(node, what, "steps"));
  }

  Step fork_step(const YAML::Node& node) const {
    check_keys(node, "fork", {"branches", "each", "as", "steps", "join"});
    Step out{.kind = Step::Kind::Fork};
    read_elements(node, "fork", "branches", kMostBranches, out);
    out.method = node["join"] ? scalar(node["join"]) : "variables";
    if (out.method != "variables" && out.method != "text")
      fail(node["join"], fmt::format("join must be variables or text, got '{}'", out.method));
    return out;
  }

  Step for_step(const YAML::Node& node) const {
    check_keys(node, "for", {"times", "each", "as", "steps"});
    Step out{.kind = Step::Kind::For};
    read_elements(node, "for", "times", 100'000, out);
    return out;
  }

  Step if_step(const YAML::Node& item) const {
    check_keys(item, "the step", {"if", "then", "else"});
    const YAML::Node condition = item["if"];
    check_keys(condition, "if", {"value", "equals", "contains", "matches", "not"});
    Step out{.kind = Step::Kind::If, .text = text_of(require(condition, "if", "value"))};
    int given = 0;
    for (const char* method : {"equals", "contains", "matches"}) {
      if (!condition[method]) continue;
      ++given;
      out.method = method;
      out.operand = text_of(condition[method]);
    }
    if (given != 1) fail(condition, "if needs one of equals, contains and matches");
    out.negated = boolean(condition["not"]).value_or(false);
    out.steps = steps(require(item, "if", "then"));
    if (item["else"]) out.otherwise = steps(item["else"]);
    return out;
  }

  Step set_step(const YAML::Node& node) const {
    if (!node.IsMap() || node.size() != 1) fail(node, "set must be one 'name: text'");
    return {.kind = Step::Kind::Set, .name = name_of(node.begin()->first), .text = text_of(node.begin()->second)};
  }

  static constexpr const char* kSteps =
      "text, gen, select, system, user, assistant, capture, fork, for, if, set, print";
  const std::string path_;
};

}  // namespace

ProgramFile parse_program(const std::string& text, const std::string& path) { return Parser(path).parse(text); }

}  // namespace sgl::cli
