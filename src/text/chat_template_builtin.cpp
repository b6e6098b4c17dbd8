// Chat formats that many models share, for models that come without a template: --chat-template chatml.

#include <algorithm>
#include <iterator>

#include "text/chat_template.h"

namespace sgl {
namespace {

// Opens every built-in template.
#define SGL_NO_TOOLS \
  R"({%- if tools %}{{ raise_exception("a built-in chat template takes no tools; give the model's own") }}{% endif -%})"

struct Builtin {
  std::string_view name;
  const char* source;
};

// Each is written so that a missing BOS or EOS token prints nothing.
constexpr Builtin kBuiltins[] = {
    {"alpaca", SGL_NO_TOOLS R"({%- for message in messages %}
    {%- if message.role == 'system' %}
        {{- message.content ~ '\n\n' }}
    {%- elif message.role == 'user' %}
        {{- '### Instruction:\n' ~ message.content ~ '\n\n' }}
    {%- else %}
        {{- '### Response:\n' ~ message.content ~ eos_token ~ '\n\n' }}
    {%- endif %}
{%- endfor %}
{%- if add_generation_prompt %}
    {{- '### Response:\n' }}
{%- endif %})"},

    {"chatml", SGL_NO_TOOLS R"({%- for message in messages %}
    {{- '<|im_start|>' ~ message.role ~ '\n' ~ message.content ~ '<|im_end|>\n' }}
{%- endfor %}
{%- if add_generation_prompt %}
    {{- '<|im_start|>assistant\n' }}
{%- endif %})"},

    {"command-r", SGL_NO_TOOLS R"({{- bos_token }}
{%- set tokens = {'system': 'SYSTEM', 'user': 'USER', 'assistant': 'CHATBOT'} %}
{%- for message in messages %}
    {{- '<|START_OF_TURN_TOKEN|><|' ~ tokens.get(message.role, 'SYSTEM') ~ '_TOKEN|>' ~ message.content | trim ~ '<|END_OF_TURN_TOKEN|>' }}
{%- endfor %}
{%- if add_generation_prompt %}
    {{- '<|START_OF_TURN_TOKEN|><|CHATBOT_TOKEN|>' }}
{%- endif %})"},

    {"deepseek", SGL_NO_TOOLS R"({{- bos_token }}
{%- for message in messages %}
    {%- if message.role == 'user' %}
        {{- '<｜User｜>' ~ message.content }}
    {%- elif message.role == 'assistant' %}
        {{- '<｜Assistant｜>' ~ message.content ~ '<｜end▁of▁sentence｜>' }}
    {%- else %}
        {{- message.content }}
    {%- endif %}
{%- endfor %}
{%- if add_generation_prompt %}
    {{- '<｜Assistant｜>' }}
{%- endif %})"},

    // Knows no system role: its text opens the first user turn.
    {"gemma", SGL_NO_TOOLS R"({{- bos_token }}
{%- set ns = namespace(system='') %}
{%- for message in messages %}
    {%- if message.role == 'system' %}
        {%- set ns.system = ns.system ~ message.content | trim ~ '\n\n' %}
    {%- else %}
        {{- '<start_of_turn>' ~ ('model' if message.role == 'assistant' else message.role) ~ '\n' }}
        {{- ns.system ~ message.content | trim ~ '<end_of_turn>\n' }}
        {%- set ns.system = '' %}
    {%- endif %}
{%- endfor %}
{%- if add_generation_prompt %}
    {{- '<start_of_turn>model\n' }}
{%- endif %})"},

    {"granite", SGL_NO_TOOLS R"({%- for message in messages %}
    {{- '<|start_of_role|>' ~ message.role ~ '<|end_of_role|>' ~ message.content ~ '<|end_of_text|>\n' }}
{%- endfor %}
{%- if add_generation_prompt %}
    {{- '<|start_of_role|>assistant<|end_of_role|>' }}
{%- endif %})"},

    {"llama-2", SGL_NO_TOOLS R"({%- set ns = namespace(system='') %}
{%- for message in messages %}
    {%- if message.role == 'system' %}
        {%- set ns.system = '<<SYS>>\n' ~ message.content ~ '\n<</SYS>>\n\n' %}
    {%- elif message.role == 'user' %}
        {{- bos_token ~ '[INST] ' ~ (ns.system ~ message.content) | trim ~ ' [/INST]' }}
        {%- set ns.system = '' %}
    {%- else %}
        {{- ' ' ~ message.content | trim ~ ' ' ~ eos_token }}
    {%- endif %}
{%- endfor %})"},

    {"llama-3", SGL_NO_TOOLS R"({{- bos_token }}
{%- for message in messages %}
    {{- '<|start_header_id|>' ~ message.role ~ '<|end_header_id|>\n\n' ~ message.content | trim ~ '<|eot_id|>' }}
{%- endfor %}
{%- if add_generation_prompt %}
    {{- '<|start_header_id|>assistant<|end_header_id|>\n\n' }}
{%- endif %})"},

    // Knows no system role: its text opens the first user turn.
    {"mistral", SGL_NO_TOOLS R"({{- bos_token }}
{%- set ns = namespace(system='') %}
{%- for message in messages %}
    {%- if message.role == 'system' %}
        {%- set ns.system = ns.system ~ message.content ~ '\n\n' %}
    {%- elif message.role == 'user' %}
        {{- '[INST] ' ~ ns.system ~ message.content ~ ' [/INST]' }}
        {%- set ns.system = '' %}
    {%- else %}
        {{- ' ' ~ message.content | trim ~ eos_token }}
    {%- endif %}
{%- endfor %})"},

    {"phi-3", SGL_NO_TOOLS R"({%- for message in messages %}
    {{- '<|' ~ message.role ~ '|>\n' ~ message.content ~ '<|end|>\n' }}
{%- endfor %}
{%- if add_generation_prompt %}
    {{- '<|assistant|>\n' }}
{%- endif %})"},

    {"vicuna", SGL_NO_TOOLS R"({{- bos_token }}
{%- for message in messages %}
    {%- if message.role == 'system' %}
        {{- message.content ~ ' ' }}
    {%- elif message.role == 'user' %}
        {{- 'USER: ' ~ message.content ~ ' ' }}
    {%- else %}
        {{- 'ASSISTANT: ' ~ message.content ~ eos_token }}
    {%- endif %}
{%- endfor %}
{%- if add_generation_prompt %}
    {{- 'ASSISTANT:' }}
{%- endif %})"},

    {"zephyr", SGL_NO_TOOLS R"({%- for message in messages %}
    {{- '<|' ~ message.role ~ '|>\n' ~ message.content ~ eos_token ~ '\n' }}
{%- endfor %}
{%- if add_generation_prompt %}
    {{- '<|assistant|>\n' }}
{%- endif %})"},
};

#undef SGL_NO_TOOLS

// Other names that people know them by.
constexpr std::pair<std::string_view, std::string_view> kAliases[] = {
    {"qwen", "chatml"},       {"llama-2-chat", "llama-2"}, {"llama-3-instruct", "llama-3"},
    {"llama2", "llama-2"},    {"llama3", "llama-3"},       {"gemma-it", "gemma"},
    {"phi3", "phi-3"},        {"vicuna_v1.1", "vicuna"},   {"deepseek-v3", "deepseek"},
    {"granite-3", "granite"},
};

}  // namespace

const char* find_builtin_chat_template(std::string_view name) {
  for (const auto& [alias, canonical] : kAliases) {
    if (alias == name) name = canonical;
  }
  auto it = std::find_if(std::begin(kBuiltins), std::end(kBuiltins), [&](const Builtin& b) { return b.name == name; });
  return it == std::end(kBuiltins) ? nullptr : it->source;
}

std::vector<std::string> builtin_chat_templates() {
  std::vector<std::string> names;
  for (const Builtin& b : kBuiltins) names.emplace_back(b.name);
  return names;
}

}  // namespace sgl
