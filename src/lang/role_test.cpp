// Turns: their marks, the messages, the default system prompt, what chat APIs allow.

#include <fstream>

#include "lang/test_programs.h"

namespace sgl {
namespace {

std::shared_ptr<ScriptedBackend> with_format(const ChatFormat& format, const std::string& answer = "A") {
  auto backend = scripted({answer});
  backend->set_format(format);
  return backend;
}

TEST(Role, MarksAndMessages) {
  auto r = run_with({.backend = with_format(ChatFormat::named("chatml"), " Hello")}, [](State& s) {
    s += sgl::system("Be brief.");
    s += user("Hi");
    s += assistant(gen("a"));
    auto turn = s.user();
    s += "And then?";
  });
  EXPECT_EQ(r.text(),
            "<|im_start|>system\nBe brief.<|im_end|>\n<|im_start|>user\nHi<|im_end|>\n"
            "<|im_start|>assistant\n Hello<|im_end|>\n<|im_start|>user\nAnd then?<|im_end|>\n");
  // Leading blanks are for the text, not for the message.
  EXPECT_EQ(r.messages(), (std::vector<Message>{
                              {"system", "Be brief."}, {"user", "Hi"}, {"assistant", "Hello"}, {"user", "And then?"}}));
}

// For every format of the table: prefix + content + suffix, and the default system prompt where there is one.
TEST(Role, EveryFormatOfTheTable) {
  for (const std::string& name : ChatFormat::names()) {
    const ChatFormat f = ChatFormat::named(name);
    auto r = run_with({.backend = with_format(f)}, [](State& s) {
      s += user("U");
      s += assistant(gen("a"));
      s += user("V");
    });
    auto turn = [&](const char* role, const std::string& text) {
      return f.roles.at(role).prefix + text + f.roles.at(role).suffix;
    };
    const std::string system = f.default_system.empty() ? "" : turn("system", f.default_system);
    EXPECT_EQ(r.text(), system + turn("user", "U") + turn("assistant", "A") + turn("user", "V")) << name;
    EXPECT_EQ(r.messages().size(), f.default_system.empty() ? 3 : 4) << name;

    auto own = run_with({.backend = with_format(f)}, [](State& s) { s += sgl::system("S"); });
    const std::string before = f.system_in_first_user ? f.roles.at("user").prefix : "";
    EXPECT_EQ(own.text(), before + turn("system", "S")) << name;
    // Whoever generates in this format is stopped by its marks.
    auto backend = with_format(f);
    run_with({.backend = backend}, [](State& s) { s += gen("x"); });
    EXPECT_EQ(backend->calls()[0].options.stop.items(), f.stop) << name;
  }
}

// A literal per style, so that the test above is not all that pins the table.
TEST(Role, FormatsAreThePublishers) {
  const ChatFormat llama3 = ChatFormat::named("llama-3-instruct");
  EXPECT_EQ(llama3.roles.at("user").prefix, "<|start_header_id|>user<|end_header_id|>\n\n");
  EXPECT_EQ(llama3.roles.at("user").suffix, "<|eot_id|>");
  EXPECT_EQ(ChatFormat::named("gemma-it").roles.at("assistant").prefix, "<start_of_turn>model\n");
  EXPECT_EQ(ChatFormat::named("vicuna_v1.1").roles.at("assistant").suffix, "</s>");
  EXPECT_EQ(ChatFormat::named("deepseek-v3").roles.at("user").prefix, "<｜User｜>");
  EXPECT_EQ(ChatFormat::named("qwen").default_system, "You are a helpful assistant.");
  EXPECT_EQ(ChatFormat::named("default").roles.at("system").prefix, "SYSTEM:");
  EXPECT_EQ(ChatFormat::named("mistral").stop, std::vector<std::string>{"</s>"});
}

TEST(Role, TheFormatIsFoundByTheModelsPath) {
  const std::pair<const char*, const char*> paths[] = {{"deepseek-ai/DeepSeek-V3", "deepseek-v3"},
                                                       {"deepseek-ai/DeepSeek-V3-Base", "default"},
                                                       {"meta-llama/Llama-2-7b-chat-hf", "llama-2-chat"},
                                                       {"meta-llama/Meta-Llama-3-8B-Instruct", "llama-3-instruct"},
                                                       {"mistralai/Mistral-7B-Instruct-v0.3", "mistral"},
                                                       {"Qwen/Qwen2.5-0.5B-Instruct", "qwen"},
                                                       {"Qwen/Qwen2-VL-7B-Instruct", "qwen2-vl"},
                                                       {"google/gemma-2-2b-it", "gemma-it"},
                                                       {"HuggingFaceTB/SmolLM2-135M-Instruct", "smollm2"},
                                                       {"Qwen/Qwen3-0.6B", "chatml"},
                                                       {"gpt2", "default"},
                                                       {"databricks/dbrx-instruct", "dbrx-instruct"},
                                                       {"TinyLlama/TinyLlama-1.1B", "chatml"}};
  for (const auto& [path, name] : paths) EXPECT_EQ(ChatFormat::for_model(path).name, name) << path;
  EXPECT_EQ(error_of([] { ChatFormat::named("nonsense"); }).kind(), ErrorKind::NotFound);
}

TEST(Role, Llama2PutsTheOpeningSystemTurnIntoTheFirstUserTurn) {
  auto r = run_with({.backend = with_format(ChatFormat::named("llama-2-chat"))},
                    [](State& s) { s += sgl::system("S") + user("U") + assistant("A") + user("V"); });
  EXPECT_EQ(r.text(), "[INST] <<SYS>>\nS\n<</SYS>>\n\nU [/INST]A </s><s>[INST] V [/INST]");
}

TEST(Role, NestedTurnsAndStrayEndsAreRefusedAndChangeNothing) {
  run_with({.backend = scripted({"x"})}, [](State& s) {
    auto turn = s.user();
    const Error error = error_of([&] { s += "text" + assistant("no"); });
    EXPECT_EQ(error.kind(), ErrorKind::InvalidArgument);
    EXPECT_TRUE(contains(error.what(), "assistant"));
    EXPECT_EQ(s.text(), "USER:");
  });
}

TEST(Role, AnExceptionLeavesTheTurnOpen) {
  std::optional<State> kept;
  EXPECT_THROW(run_with({.backend = scripted({"x"})},
                        [&](State& s) {
                          kept = s;
                          auto turn = s.user();
                          s += "half";
                          throw std::runtime_error("no");
                        }),
               std::runtime_error);
  EXPECT_EQ(kept->partial_text(), "USER:half");
}

TEST(Role, AChatApiGetsMessagesAndTheGenComesFirst) {
  auto backend = std::make_shared<ScriptedBackend>(std::vector<std::string>{"A1", "A2"}, ScriptedBackend::chat());
  run_with({.backend = backend}, [](State& s) {
    s += sgl::system("S") + user("U") + assistant(gen("a"));
    s += user("V") + assistant(gen("b"));
    EXPECT_EQ(s["b"], "A2");
    const Error outside = error_of([&] { s += gen("c"); });
    EXPECT_EQ(outside.kind(), ErrorKind::Unsupported);
    EXPECT_TRUE(contains(outside.what(), "gen(\"c\")") && contains(outside.what(), "scripted")) << outside.what();
    EXPECT_EQ(error_of([&] { s += assistant("Title: " + gen("c")); }).kind(), ErrorKind::Unsupported);
    EXPECT_EQ(error_of([&] { s += assistant(gen("c") + gen("d")); }).kind(), ErrorKind::Unsupported);
    EXPECT_EQ(error_of([&] { s += assistant(select("c", {"x", "y"})); }).kind(), ErrorKind::Unsupported);
    EXPECT_EQ(error_of([&] { s += assistant(gen("c", {.regex = "a"})); }).kind(), ErrorKind::Unsupported);
  });
  ASSERT_EQ(backend->calls().size(), 2);
  EXPECT_EQ(backend->calls()[0].prompt.messages, (std::vector<Message>{{"system", "S"}, {"user", "U"}}));
  EXPECT_EQ(backend->calls()[1].prompt.messages,
            (std::vector<Message>{{"system", "S"}, {"user", "U"}, {"assistant", "A1"}, {"user", "V"}}));
}

TEST(Role, WhatWouldNotArriveIsRefused) {
  run_with({.backend = std::make_shared<ScriptedBackend>(std::vector<std::string>{"A"}, ScriptedBackend::chat())},
           [](State& s) {
             s.set("v", "value");
             for (const Expr& outside : {Expr("text"), Expr(s["v"]), user("fine") + "not"}) {
               const Error error = error_of([&] { s += outside; });
               EXPECT_EQ(error.kind(), ErrorKind::Unsupported);
               EXPECT_TRUE(contains(error.what(), "outside of a turn")) << error.what();
             }
             s += "" + role("developer", "an API may know it") + user("U") + assistant(gen("a"));
             EXPECT_EQ(s["a"], "A");
             EXPECT_EQ(s.messages().size(), 3);
           });
  run_with({.backend = with_format(ChatFormat::named("chatml"))}, [](State& s) {
    const Error error = error_of([&] { s += role("developer", "text"); });
    EXPECT_EQ(error.kind(), ErrorKind::InvalidArgument);
    EXPECT_TRUE(contains(error.what(), "a developer turn") && contains(error.what(), "assistant, system, user"))
        << error.what();
    EXPECT_EQ(s.text(), "");
  });
}

TEST(Role, PicturesGoWithTheTurnThatHoldsThem) {
  const std::string png("\x89PNG\r\n\x1a\n-pixels-", 16);
  auto backend = with_format(ChatFormat::named("qwen2-vl"));
  auto r = run_with({.backend = backend}, [&](State& s) {
    s += user(image(png) + image(png) + "What is it?");
    s += assistant(gen("a"));
  });
  EXPECT_TRUE(contains(r.text(), "<|vision_start|><|image_pad|><|vision_end|><|vision_start|>"));
  ASSERT_EQ(backend->calls().size(), 1);
  EXPECT_EQ(backend->calls()[0].prompt.images.size(), 2);
  EXPECT_EQ(backend->calls()[0].prompt.images[0], "iVBORw0KGgotcGl4ZWxzLQ==");
  EXPECT_EQ(r.messages()[1].images.size(), 2);
  EXPECT_TRUE(r.messages()[2].images.empty());

  Capabilities blind = ScriptedBackend::all();
  blind.images = blind.videos = false;
  run_with({.backend = std::make_shared<ScriptedBackend>(std::vector<std::string>{"x"}, blind)}, [&](State& s) {
    const Error error = error_of([&] { s += user(image(png)); });
    EXPECT_EQ(error.kind(), ErrorKind::Unsupported);
    const std::string frame = testing::TempDir() + "frame.png";  // a signature and an empty last chunk
    std::ofstream(frame, std::ios::binary) << png.substr(0, 8) << std::string("\0\0\0\0IEND\0\0\0\0", 12);
    const Error no_video = error_of([&] { s += user(video(frame, 1)); });
    EXPECT_EQ(no_video.kind(), ErrorKind::Unsupported);
    EXPECT_TRUE(contains(no_video.what(), "video()")) << no_video.what();
    EXPECT_EQ(error_of([] { image("no/such/file.png"); }).kind(), ErrorKind::NotFound);
    EXPECT_EQ(error_of([] { video("no/such/file", 4); }).kind(), ErrorKind::NotFound);
    EXPECT_EQ(error_of([] { video("x", 0); }).kind(), ErrorKind::InvalidArgument);
  });
}

TEST(Role, SeparateReasoningKeepsTheAnswerInTheTextAndTheThoughtsBesides) {
  auto r = run_with({.backend = with_format(ChatFormat::named("chatml"), "<think>\nhm, 4\n</think>\n\nFour.")},
                    [](State& s) {
                      s += user("2+2?");
                      s += assistant(separate_reasoning(gen("a"), "qwen3"));
                    });
  EXPECT_EQ(r["a"], "Four.");
  EXPECT_EQ(r["a"].reasoning(), "hm, 4");
  EXPECT_EQ(r["a_reasoning_content"], "hm, 4");
  EXPECT_EQ(r.messages()[1].content, "Four.");
  EXPECT_EQ(error_of([] { separate_reasoning(gen("a"), "gpt-2"); }).kind(), ErrorKind::InvalidArgument);
  EXPECT_EQ(error_of([] { separate_reasoning(gen(), "qwen3"); }).kind(), ErrorKind::InvalidArgument);
}

// ── Formats read off a template ──────────────────────────────────────────────────────────────────────────────────────

using Turns = std::vector<std::pair<std::string, std::string>>;

/// A template of fixed turns, like most are.
std::optional<ChatFormat> derive(const std::function<std::optional<std::string>(const Turns&, bool)>& render,
                                 const std::string& bos = "") {
  return ChatFormat::derive(
      [&](const ChatPrompt& chat) {
        Turns turns;
        for (const ChatMessage& m : chat.messages) turns.emplace_back(m.role, m.parts[0].text);
        return render(turns, chat.add_generation_prompt);
      },
      bos);
}

TEST(DerivedFormat, ChatmlWithADefaultSystemTurn) {
  const auto format = derive([](const Turns& turns, bool prompt) {
    std::string out = turns[0].first == "system" ? "" : "<|im_start|>system\nHelp.<|im_end|>\n";
    for (const auto& [role, text] : turns) out += "<|im_start|>" + role + "\n" + text + "<|im_end|>\n";
    return std::optional(out + (prompt ? "<|im_start|>assistant\n" : ""));
  });
  ASSERT_TRUE(format);
  EXPECT_EQ(format->default_system, "Help.");
  EXPECT_EQ(format->roles.at("system").prefix, "<|im_start|>system\n");
  EXPECT_EQ(format->roles.at("user").suffix, "<|im_end|>\n");
  EXPECT_EQ(format->roles.at("assistant").prefix, "<|im_start|>assistant\n");
  EXPECT_EQ(format->roles.at("assistant").suffix, "<|im_end|>\n");
}

TEST(DerivedFormat, TheBeginOfTextTokenIsTheTokenizersToAdd) {
  const auto format = derive(
      [](const Turns& turns, bool prompt) {
        std::string out = "<bos>";
        for (const auto& [role, text] : turns) out += "<" + role + ">" + text + "</>";
        return std::optional(out + (prompt ? "<assistant>" : ""));
      },
      "<bos>");
  ASSERT_TRUE(format);
  EXPECT_EQ(format->roles.at("user").prefix, "<user>");
  EXPECT_EQ(format->roles.at("system").prefix, "<system>");
}

TEST(DerivedFormat, ATemplateWithoutFixedTurnsGivesNone) {
  EXPECT_FALSE(derive([](const Turns&, bool) { return std::nullopt; }));
  EXPECT_FALSE(derive([](const Turns& turns, bool) {  // numbers its turns
    std::string out;
    for (size_t i = 0; i < turns.size(); ++i) out += std::to_string(i) + ":" + turns[i].second + "\n";
    return std::optional(out);
  }));
}

}  // namespace
}  // namespace sgl
