// Renderings equal to the reference's, recorded by tests/chat_templates/record.py: every feature, random templates,
// white space, publishers' templates over conversations. Errors count, too: where Python raises, we must.

#include <cstdlib>
#include <filesystem>
#include <map>
#include <string>
#include <vector>

#include <fmt/format.h>
#include <gtest/gtest.h>
#include <nlohmann/json.hpp>

#include "base/file.h"
#include "sgl/error.h"
#include "text/chat_template.h"
#include "text/jinja.h"
#include "text/jinja_library.h"

namespace sgl {
namespace {

using Json = nlohmann::ordered_json;

// 2026-02-03 14:05:09, a Tuesday: reference.CLOCK.
std::tm clock_time() {
  std::tm t{};
  t.tm_year = 126;
  t.tm_mon = 1;
  t.tm_mday = 3;
  t.tm_hour = 14;
  t.tm_min = 5;
  t.tm_sec = 9;
  t.tm_wday = 2;
  t.tm_yday = 33;
  return t;
}

struct Result {
  bool ok;
  std::string text;  // or the error's message
};

Result render(const std::string& source, const std::string& variables_json) {
  try {
    jinja::Template parsed(source);
    jinja::Heap heap(size_t{64} << 20);
    jinja::Value variables = jinja::parse_json(heap, variables_json);
    std::vector<std::pair<std::string_view, jinja::Value>> given;
    for (const auto& [name, value] : variables.dict().entries) given.emplace_back(name.as_string(), value);
    return {true, parsed.render(heap, given, {.now = clock_time})};
  } catch (const Error& e) {
    EXPECT_NE(e.kind(), ErrorKind::Internal);
    return {false, e.what()};
  }
}

// What ChatTemplate makes of an input as a client would send it.
Result render_chat(const std::string& source, const Json& input, bool continues) {
  ChatPrompt chat;
  Json kwargs = Json::object();
  for (const auto& [name, value] : input.items()) {
    if (name == "messages" || name == "bos_token" || name == "eos_token" || name == "documents") continue;
    if (name == "tools") {
      if (!value.is_null()) chat.tools_json = value.dump();
    } else if (name == "add_generation_prompt") {
      chat.add_generation_prompt = value;
    } else {
      kwargs[name] = value;
    }
  }
  if (!kwargs.empty()) chat.template_kwargs_json = kwargs.dump();
  chat.continue_final_message = continues;
  for (const Json& m : input["messages"]) {
    ChatMessage& message = chat.messages.emplace_back();
    message.role = m["role"];
    message.parts.push_back({.text = m["content"]});
    message.name = m.value("name", "");
    message.tool_call_id = m.value("tool_call_id", "");
    message.reasoning_content = m.value("reasoning_content", "");
    for (const Json& c : m.value("tool_calls", Json::array())) {
      message.tool_calls.push_back({c["id"], c["function"]["name"], c["function"]["arguments"].dump()});
    }
  }
  try {
    return {true, ChatTemplate(source, input["bos_token"], input["eos_token"], {.now = clock_time}).render(chat)};
  } catch (const Error& e) {
    return {false, e.what()};
  }
}

struct Score {
  size_t cases = 0, bad = 0;

  void check(const Json& c, const Result& got) {
    ++cases;
    const Json& want = c[2];
    bool want_ok = want.contains("out");
    bool same =
        got.ok == want_ok && (want_ok ? got.text == want["out"] : got.text.ends_with(want.value("message", "")));
    if (same || ++bad > 10) return;
    ADD_FAILURE() << c[0] << " with " << c[1] << (c[2].contains("continue") ? ", continued" : "") << "\nexpected "
                  << want.dump() << "\ngot      " << (got.ok ? "" : "error: ") << Json(got.text).dump();
  }
};

const Json& corpus() {
  static const Json json = [] {
    const char* other = std::getenv("SGL_TEMPLATE_CASES");
    return Json::parse(read_file(other != nullptr ? other : SGL_SOURCE_DIR "/tests/chat_templates/corpus.json"));
  }();
  return json;
}

void check_cases(const std::map<std::string, std::string>& templates) {
  std::map<std::string, std::string> inputs;
  for (const auto& [name, input] : corpus()["inputs"].items()) inputs[name] = input.dump();
  Score score;
  for (const Json& c : corpus()["cases"]) {
    auto source = templates.find(c[0].get<std::string>());
    if (source != templates.end()) score.check(c, render(source->second, inputs.at(c[1].get<std::string>())));
  }
  EXPECT_GT(score.cases, 0U);
  fmt::print("{} renderings, {} different\n", score.cases, score.bad);
  EXPECT_EQ(score.bad, 0U);
}

TEST(TemplateCorpus, RendersAsTheReferenceDoes) {
  std::map<std::string, std::string> templates;
  for (const auto& [name, source] : corpus()["templates"].items()) templates[name] = source;
  check_cases(templates);
}

TEST(TemplateCorpus, ChatPromptsAreRenderedAsTheReferenceDoes) {
  Score score;
  for (const Json& c : corpus()["chats"]) {
    const Json& input = corpus()["inputs"][c[1].get<std::string>()];
    score.check(c, render_chat(corpus()["templates"][c[0].get<std::string>()], input, c[2].contains("continue")));
  }
  fmt::print("{} chats, {} different\n", score.cases, score.bad);
  EXPECT_EQ(score.bad, 0U);
}

TEST(TemplateCorpus, PublishersTemplatesRenderAsTheReferenceDoes) {
  const std::string shared = SGL_SOURCE_DIR "/../shared/";
  if (!std::filesystem::exists(shared + "tokenizers")) GTEST_SKIP() << "absent, skipped: " << shared << "tokenizers";
  if (std::system("xz --version > /dev/null 2>&1") != 0) GTEST_SKIP() << "absent, skipped: the program xz";
  std::map<std::string, std::string> templates;
  for (const Json& path : corpus()["published"]) {
    std::string unpacked = testing::TempDir() + "sgl_template_corpus.json";
    std::string command = fmt::format("xz -dc '{}{}' > '{}'", shared, path.get<std::string>(), unpacked);
    ASSERT_EQ(std::system(command.c_str()), 0) << command;
    templates[path] = Json::parse(read_file(unpacked))["chat_template"];
    std::filesystem::remove(unpacked);
  }
  if (templates.empty()) GTEST_SKIP() << "the corpus has no publishers' templates";
  check_cases(templates);
}

}  // namespace
}  // namespace sgl
