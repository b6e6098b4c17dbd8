// How conversations reach a template. That templates render as the reference does: template_corpus_test.cpp.

#include "text/chat_template.h"

#include <algorithm>
#include <fstream>
#include <string>

#include <gtest/gtest.h>

#include "sgl/error.h"

namespace sgl {
namespace {

constexpr const char* kPlain =
    "{% for m in messages %}<{{ m.role }}>{{ m['content'] + '' }}</>{% endfor %}"
    "{% if add_generation_prompt %}<assistant>{% endif %}";

ChatMessage message(std::string role, std::string text) {
  return {.role = std::move(role), .parts = {{.text = std::move(text)}}};
}

ChatPrompt chat(std::vector<ChatMessage> messages) {
  ChatPrompt prompt;
  prompt.messages = std::move(messages);
  return prompt;
}

ChatPrompt hello() { return chat({message("user", "Hello")}); }

std::string error_of(const ChatTemplate& t, const ChatPrompt& prompt, ErrorKind kind = ErrorKind::InvalidArgument) {
  try {
    ADD_FAILURE() << "rendered " << t.render(prompt);
  } catch (const Error& e) {
    EXPECT_EQ(e.kind(), kind) << e.what();
    return e.what();
  }
  return "";
}

TEST(ChatTemplate, SeesMessagesTokensAndFlags) {
  ChatTemplate t(
      "{{ bos_token }}{{ eos_token is defined }}{{ pad_token }}{{ tools is none }}{{ documents is none }}"
      "{{ messages[0].role }}:{{ messages[0].content }}{{ add_generation_prompt }}",
      "<s>", "", {.special_tokens = {{"pad_token", "<pad>"}}});
  EXPECT_EQ(t.render(hello()), "<s>False<pad>TrueTrueuser:HelloTrue");
}

TEST(ChatTemplate, RefusalIsInvalidArgumentWithTheTemplatesMessage) {
  ChatTemplate t(
      "{% for m in messages %}\n{% if m.role == 'system' %}{{ raise_exception('No system role, please') }}{% endif "
      "%}\n{% endfor %}");
  EXPECT_EQ(error_of(t, chat({message("system", "x")})), "chat template, line 2: No system role, please");
  EXPECT_EQ(t.render(hello()), "");
}

TEST(ChatTemplate, SourceThatIsNoTemplateIsCorrupt) {
  try {
    ChatTemplate t("{% if %}");
    FAIL();
  } catch (const Error& e) {
    EXPECT_EQ(e.kind(), ErrorKind::CorruptFile);
  }
}

TEST(ChatTemplate, ManyTextPartsAreOneText) {
  ChatPrompt prompt = chat({{.role = "user", .parts = {{.text = "one"}, {.text = "two"}}}});
  EXPECT_EQ(ChatTemplate(kPlain).render(prompt), "<user>one\ntwo</><assistant>");
}

TEST(ChatTemplate, TemplatesThatWantPartsGetParts) {
  ChatTemplate t(
      "{% for m in messages %}{% for part in m.content %}[{{ part.type }}:{{ part.text }}]{% endfor %}{% endfor %}");
  EXPECT_FALSE(t.takes_text());
  EXPECT_TRUE(t.takes_parts());
  EXPECT_EQ(t.render(hello()), "[text:Hello]");
  EXPECT_EQ(
      t.render(chat({{.role = "user", .parts = {{.text = "a"}, {.type = ContentPart::Type::Image}, {.text = "b"}}}})),
      "[text:a][image:][text:b]");
}

TEST(ChatTemplate, TemplatesThatTakeBothGetTextUnlessThereIsAnImage) {
  ChatTemplate t(
      "{% for m in messages %}{% if m.content is string %}{{ m.content }}{% else %}{% for part in m.content %}"
      "{{ part.text if part.type == 'text' else '<image>' }}{% endfor %}{% endif %}{% endfor %}");
  EXPECT_TRUE(t.takes_text());
  EXPECT_TRUE(t.takes_parts());
  EXPECT_EQ(t.render(chat({{.role = "user", .parts = {{.text = "a"}, {.text = "b"}}}})), "a\nb");
  EXPECT_EQ(t.render(chat({{.role = "user", .parts = {{.text = "a"}, {.type = ContentPart::Type::Image}}}})),
            "a<image>");
}

TEST(ChatTemplate, ImageForATemplateThatTakesOnlyTextIsRefused) {
  ChatTemplate t("{% for m in messages %}{{ m.content }}{% endfor %}");  // would print the list
  EXPECT_FALSE(t.takes_parts());
  std::string error = error_of(t, chat({{.role = "user", .parts = {{.type = ContentPart::Type::Image}}}}));
  EXPECT_NE(error.find("takes only text"), std::string::npos) << error;
}

ChatPrompt tool_conversation() {
  ChatMessage call{.role = "assistant",
                   .tool_calls = {{.id = "c1", .name = "add", .arguments_json = R"({"b": 2, "a": [1.0, null]})"}}};
  ChatMessage result = message("tool", "3");
  result.tool_call_id = "c1";
  result.name = "add";
  return chat({message("user", "1+2"), call, result});
}

TEST(ChatTemplate, ToolCallsAreObjectsInOrder) {
  ChatTemplate t("{% for m in messages %}{{ m | tojson }}\n{% endfor %}");
  EXPECT_EQ(t.render(tool_conversation()),
            "{\"role\": \"user\", \"content\": \"1+2\"}\n"
            "{\"role\": \"assistant\", \"content\": null, \"tool_calls\": [{\"id\": \"c1\", \"type\": \"function\", "
            "\"function\": {\"name\": \"add\", \"arguments\": {\"b\": 2, \"a\": [1.0, null]}}}]}\n"
            "{\"role\": \"tool\", \"content\": \"3\", \"name\": \"add\", \"tool_call_id\": \"c1\"}\n");
}

TEST(ChatTemplate, NoContentIsEmptyWhereNoneWouldFailOrBePrinted) {
  const std::string calls = "{% for c in m.tool_calls | default([]) %}[{{ c.function.name }}]{% endfor %}";
  for (const char* content : {"{{ m.content + '' }}", "{{ m.content }}", "{{ m.content | trim }}"}) {
    ChatTemplate t("{% for m in messages %}" + std::string(content) + calls + ";{% endfor %}");
    EXPECT_EQ(t.render(tool_conversation()), "1+2;[add];3;") << content;
  }
  ChatTemplate asks("{% for m in messages %}{{ 'null' if m.content is none else m.content }};{% endfor %}");
  EXPECT_EQ(asks.render(tool_conversation()), "1+2;null;3;");
  // Without tool calls it is an empty message.
  EXPECT_EQ(asks.render(chat({{.role = "assistant"}})), ";");
}

TEST(ChatTemplate, ArgumentsAreTextForATemplateThatWantsText) {
  ChatTemplate t(
      "{% for m in messages %}{% for c in m.tool_calls or [] %}{{ '<' + c.function.arguments + '>' }}{% endfor %}{% "
      "endfor %}");
  EXPECT_EQ(t.render(tool_conversation()), R"(<{"b": 2, "a": [1.0, null]}>)");
}

TEST(ChatTemplate, ArgumentsThatAreNoObjectStayAsTheyAre) {
  ChatTemplate t(
      "{% for m in messages %}{% for c in m.tool_calls or [] %}{{ c.function.arguments | tojson }}{% endfor %}{% "
      "endfor %}");
  auto render = [&](const char* arguments) {
    ChatPrompt prompt = tool_conversation();
    prompt.messages[1].tool_calls[0].arguments_json = arguments;
    return t.render(prompt);
  };
  EXPECT_EQ(render(""), "{}");
  EXPECT_EQ(render("{\"cut\": "), "\"{\\\"cut\\\": \"");
  EXPECT_EQ(render("[1]"), "\"[1]\"");
}

TEST(ChatTemplate, ReasoningGoesByBothOfItsNames) {
  ChatTemplate t("{% for m in messages %}{{ m.reasoning_content }}|{{ m.thinking }}{% endfor %}");
  ChatMessage m = message("assistant", "4");
  m.reasoning_content = "2+2";
  EXPECT_EQ(t.render(chat({m})), "2+2|2+2");
  EXPECT_EQ(t.render(hello()), "|");
}

TEST(ChatTemplate, ToolsAreJsonAndNoToolsAreNone) {
  ChatTemplate t("{{ 'none' if tools is none else tools | map(attribute='function.name') | join(',') }}");
  ChatPrompt prompt = hello();
  EXPECT_EQ(t.render(prompt), "none");
  prompt.tools_json = "[]";
  EXPECT_EQ(t.render(prompt), "none");
  prompt.tools_json = R"([{"type": "function", "function": {"name": "f"}}, {"function": {"name": "g"}}])";
  EXPECT_EQ(t.render(prompt), "f,g");
  prompt.tools_json = "{}";
  EXPECT_EQ(error_of(t, prompt), "tools must be an array of tools");
  prompt.tools_json = "[";
  EXPECT_NE(error_of(t, prompt).find("tools: invalid JSON"), std::string::npos);
}

TEST(ChatTemplate, ExtraVariablesComeFirstButForTheRequestsOwn) {
  ChatTemplate t("{{ enable_thinking is false }}{{ bos_token }}{{ documents | length }}", "<s>");
  ChatPrompt prompt = hello();
  prompt.template_kwargs_json = R"({"enable_thinking": false, "bos_token": "<other>", "documents": [1, 2]})";
  EXPECT_EQ(t.render(prompt), "True<other>2");
  prompt.template_kwargs_json = R"({"messages": []})";
  EXPECT_NE(error_of(t, prompt).find("must not have messages"), std::string::npos);
  prompt.template_kwargs_json = "[]";
  EXPECT_EQ(error_of(t, prompt), "chat_template_kwargs must be an object");
}

TEST(ChatTemplate, ContinuedMessageEndsWithItsContent) {
  ChatPrompt prompt = chat({message("user", "Poem"), message("assistant", "Roses are")});
  prompt.continue_final_message = true;
  EXPECT_EQ(ChatTemplate(kPlain).render(prompt), "<user>Poem</><assistant>Roses are");
  // Spaces at its end stay where the template keeps them, and go where it trims.
  prompt.messages[1].parts[0].text = "Roses are \n";
  EXPECT_EQ(ChatTemplate(kPlain).render(prompt), "<user>Poem</><assistant>Roses are \n");
  ChatTemplate trims("{% for m in messages %}<{{ m.role }}>{{ m.content | trim }}</>{% endfor %}");
  EXPECT_EQ(trims.render(prompt), "<user>Poem</><assistant>Roses are");
}

TEST(ChatTemplate, MessageThatCannotBeContinuedIsRefused) {
  ChatPrompt prompt = chat({message("user", "Hi"), {.role = "assistant"}});
  prompt.continue_final_message = true;
  EXPECT_NE(error_of(ChatTemplate(kPlain), prompt).find("no content"), std::string::npos);
  prompt.messages[1] = message("assistant", "yes");
  ChatTemplate drops("{% for m in messages if m.role == 'user' %}{{ m.content }}{% endfor %}");
  EXPECT_NE(error_of(drops, prompt).find("cannot be continued"), std::string::npos);
  prompt.messages.clear();
  EXPECT_NE(error_of(ChatTemplate(kPlain), prompt).find("no messages"), std::string::npos);
}

TEST(ChatTemplate, IllFormedUtf8IsRepaired) {
  EXPECT_EQ(ChatTemplate(kPlain).render(chat({message("user", "a\xff\xE2\x82z")})),
            "<user>a\uFFFD\uFFFDz</><assistant>");
}

TEST(ChatTemplate, ClockCanBeSet) {
  std::tm time{};
  time.tm_year = 124;
  time.tm_mon = 6;
  time.tm_mday = 26;
  ChatTemplate t("{{ strftime_now('%d %b %Y') }}", "", "", {.now = [time] { return time; }});
  EXPECT_EQ(t.render(hello()), "26 Jul 2024");
  EXPECT_EQ(ChatTemplate("{{ strftime_now('%Y') | length }}").render(hello()), "4");
}

TEST(ChatTemplate, BuiltInsRenderAConversation) {
  ChatPrompt prompt =
      chat({message("system", "S"), message("user", "U"), message("assistant", "A"), message("user", "V")});
  for (const std::string& name : builtin_chat_templates()) {
    ChatTemplate t(load_chat_template(name), "<s>", "</s>");
    std::string text = t.render(prompt);
    size_t at = 0;
    for (const char* part : {"S", "U", "A", "V"}) {
      at = text.find(part, at);
      EXPECT_NE(at, std::string::npos) << name << ": " << text;
    }
    prompt.tools_json = "[{}]";
    EXPECT_NE(error_of(t, prompt).find("takes no tools"), std::string::npos);
    prompt.tools_json.clear();
  }
  EXPECT_EQ(ChatTemplate(load_chat_template("chatml")).render(prompt),
            "<|im_start|>system\nS<|im_end|>\n<|im_start|>user\nU<|im_end|>\n<|im_start|>assistant\nA<|im_end|>\n"
            "<|im_start|>user\nV<|im_end|>\n<|im_start|>assistant\n");
  EXPECT_EQ(ChatTemplate(load_chat_template("llama-2"), "<s>", "</s>").render(prompt),
            "<s>[INST] <<SYS>>\nS\n<</SYS>>\n\nU [/INST] A </s><s>[INST] V [/INST]");
  EXPECT_EQ(load_chat_template("llama-3-instruct"), load_chat_template("llama-3"));
}

TEST(ChatTemplate, IsLoadedFromAFileOrByName) {
  std::string path = testing::TempDir() + "sgl_test.jinja";
  std::ofstream(path) << "from a file";
  EXPECT_EQ(load_chat_template(path), "from a file");
  std::remove(path.c_str());
  try {
    load_chat_template("no-such-template");
    FAIL();
  } catch (const Error& e) {
    EXPECT_EQ(e.kind(), ErrorKind::NotFound);
    EXPECT_NE(std::string(e.what()).find("chatml"), std::string::npos);
  }
}

}  // namespace
}  // namespace sgl
