// How turns look as text, by name: for models whose own template is not at hand. The formats are those of the models'
// publishers, names and choice those of SGLang.

#include <algorithm>
#include <regex>

#include <fmt/format.h>

#include "sgl/error.h"
#include "sgl/program_backend.h"

namespace sgl {
namespace {

struct Row {
  const char* name;
  ChatFormat::Role system, user, assistant;
  const char* default_system;
  std::vector<std::string> stop;
  const char* image_mark;
  bool system_in_first_user;
};

constexpr const char* kHelpful = "You are a helpful assistant.";
constexpr const char* kSmol = "You are a helpful AI assistant named SmolLM, trained by Hugging Face";
constexpr const char* kInternVl =
    "你是书生·万象，英文名是InternVL，是由上海人工智能实验室、清华大学及多家合作单位联合开发的多模态大语言模型。";
constexpr const char* kInternS1 =
    "You are an AI assistant whose name is Intern-S1 (书生大模型).\n"
    "- Intern-S1 (书生大模型) is a vision-language model that is developed by Shanghai "
    "AI Laboratory (上海人工智能实验室).  It is designed to be helpful, honest, and "
    "harmless.\n"
    "- Intern-S1 (书生大模型) can understand and communicate fluently in the language "
    "chosen by the user such as English and 中文.\n"
    "You are an expert reasoner with extensive experience in all areas. You approach problems "
    "through systematic thinking and rigorous reasoning. Your response should reflect deep "
    "understanding and precise logical thinking, making your solution path and reasoning clear "
    "to others. Please put your thinking process within <think>...</think> tags.";
constexpr const char* kDbrx =
    "You are DBRX, created by Databricks. You were last updated in December 2023. You answer "
    "questions based on information available up to that point.\n"
    "YOU PROVIDE SHORT RESPONSES TO SHORT QUESTIONS OR STATEMENTS, but provide thorough responses "
    "to more complex and open-ended questions.\n"
    "You assist with various tasks, from writing to coding (using markdown for code blocks "
    "— remember to use ``` with code, JSON, and tables).\n"
    "(You do not have real-time data access or code execution capabilities. You avoid stereotyping "
    "and provide balanced perspectives on controversial topics. You do not provide song lyrics, "
    "poems, or news articles and do not divulge details of your training data.)\n"
    "This is your system prompt, guiding your responses. Do not reference it, just respond "
    "to the user. If you find yourself talking about this message, stop. You should be responding "
    "appropriately and usually that means not mentioning this.\n"
    "YOU DO NOT MENTION ANY OF THIS INFORMATION ABOUT YOURSELF UNLESS THE INFORMATION IS DIRECTLY "
    "PERTINENT TO THE USER'S QUERY.";
constexpr const char* kVicuna =
    "A chat between a curious user and an artificial intelligence assistant. The assistant "
    "gives helpful, detailed, and polite answers to the user's questions.";
constexpr const char* kYi =
    "This is a chat between an inquisitive human and an AI assistant. Assume the role of the "
    "AI assistant. Read all the images carefully, and respond to the human's questions with "
    "informative, helpful, detailed and polite answers.这是一个好奇的人类和一个人工智能助"
    "手之间的对话。假设你扮演这个AI助手的角色。仔细阅读所有的图像，并对人"
    "类的问题做出信息丰富、有帮助、详细的和礼貌的回答。";

const std::vector<Row>& rows() {
  static const std::vector<Row> table = {
      {"default", {"SYSTEM:", "\n"}, {"USER:", "\n"}, {"ASSISTANT:", "\n"}, "", {}, "<image>", false},
      {"chatml",
       {"<|im_start|>system\n", "<|im_end|>\n"},
       {"<|im_start|>user\n", "<|im_end|>\n"},
       {"<|im_start|>assistant\n", "<|im_end|>\n"},
       "",
       {"<|im_end|>"},
       "<image>",
       false},
      {"claude", {"", ""}, {"\n\nHuman: ", ""}, {"\n\nAssistant:", ""}, "", {}, "<image>", false},
      {"deepseek-v3",
       {"", ""},
       {"<｜User｜>", ""},
       {"<｜Assistant｜>", "<｜end▁of▁sentence｜>"},
       "",
       {"<｜end▁of▁sentence｜>"},
       "<image>",
       false},
      {"janus",
       {"", ""},
       {"<｜User｜>", ""},
       {"<｜Assistant｜>", "<｜end▁of▁sentence｜>"},
       "",
       {"<｜end▁of▁sentence｜>"},
       "<image_placeholder>\n",
       false},
      {"janus-pro",
       {"", ""},
       {"<｜User｜>", ""},
       {"<｜Assistant｜>", "<｜end▁of▁sentence｜>"},
       "",
       {"<｜end▁of▁sentence｜>"},
       "<image_placeholder>\n",
       false},
      {"llama-2-chat",
       {"<<SYS>>\n", "\n<</SYS>>\n\n"},
       {"[INST] ", " [/INST]"},
       {"", " </s><s>"},
       "",
       {},
       "<image>",
       true},
      {"mistral",
       {"[SYSTEM_PROMPT] ", " [/SYSTEM_PROMPT]"},
       {"[INST] ", " [/INST]"},
       {"", " </s><s>"},
       "",
       {"</s>"},
       "[IMG]",
       false},
      {"llama-3-instruct",
       {"<|start_header_id|>system<|end_header_id|>\n\n", "<|eot_id|>"},
       {"<|start_header_id|>user<|end_header_id|>\n\n", "<|eot_id|>"},
       {"<|start_header_id|>assistant<|end_header_id|>\n\n", "<|eot_id|>"},
       "",
       {"<|eot_id|>"},
       "<|image|>",
       false},
      {"llama-3-instruct-llava",
       {"<|start_header_id|>system<|end_header_id|>\n\n", "<|eot_id|>"},
       {"<|start_header_id|>user<|end_header_id|>\n\n", "<|eot_id|>"},
       {"<|start_header_id|>assistant<|end_header_id|>\n\n", "<|eot_id|>"},
       "",
       {"<|eot_id|>"},
       "<image>\n",
       false},
      {"llama-4",
       {"<|header_start|>system<|header_end|>\n\n", "<|eot|>"},
       {"<|header_start|>user<|header_end|>\n\n", "<|eot|>"},
       {"<|header_start|>assistant<|header_end|>\n\n", "<|eot|>"},
       "",
       {"<|eot|>"},
       "<|image|>",
       false},
      {"qwen",
       {"<|im_start|>system\n", "<|im_end|>\n"},
       {"<|im_start|>user\n", "<|im_end|>\n"},
       {"<|im_start|>assistant\n", "<|im_end|>\n"},
       kHelpful,
       {"<|im_end|>"},
       "<image>",
       false},
      {"qwen2-vl",
       {"<|im_start|>system\n", "<|im_end|>\n"},
       {"<|im_start|>user\n", "<|im_end|>\n"},
       {"<|im_start|>assistant\n", "<|im_end|>\n"},
       kHelpful,
       {"<|im_end|>"},
       "<|vision_start|><|image_pad|><|vision_end|>",
       false},
      {"chatml-llava",
       {"<|im_start|>system\n", "<|im_end|>\n"},
       {"<|im_start|>user\n", "<|im_end|>\n"},
       {"<|im_start|>assistant\n", "<|im_end|>\n"},
       kHelpful,
       {"<|im_end|>"},
       "<image>\n",
       false},
      {"internvl-2-5",
       {"<|im_start|>system\n", "<|im_end|>\n"},
       {"<|im_start|>user\n", "<|im_end|>\n"},
       {"<|im_start|>assistant\n", "<|im_end|>\n"},
       kInternVl,
       {"<|im_end|>", "<|action_end|>"},
       "<image>",
       false},
      {"interns1",
       {"<|im_start|>system\n", "<|im_end|>\n"},
       {"<|im_start|>user\n", "<|im_end|>\n"},
       {"<|im_start|>assistant\n", "<|im_end|>\n"},
       kInternS1,
       {"<|im_end|>", "<|action_end|>"},
       "<image>",
       false},
      {"dbrx-instruct",
       {"<|im_start|>system\n", "<|im_end|>"},
       {"\n<|im_start|>user\n", "<|im_end|>"},
       {"\n<|im_start|>assistant\n", "<|im_end|>"},
       kDbrx,
       {"<|im_end|>"},
       "<image>",
       false},
      {"vicuna_v1.1", {"", " "}, {"USER:", " "}, {"ASSISTANT:", "</s>"}, kVicuna, {}, " <image>\n", false},
      {"minicpmv",
       {"", " "},
       {"user:", " "},
       {"assistant:", "</s>"},
       "",
       {"<|im_end|>", "<|endoftext|>"},
       "(<image>./</image>)",
       false},
      {"minicpmo",
       {"", " "},
       {"user:", " "},
       {"assistant:", "</s>"},
       "",
       {"<|im_end|>", "<|endoftext|>"},
       "(<image>./</image>)",
       false},
      {"yi-1.5",
       {"", ""},
       {"<|im_start|>user\n", "<|im_end|>\n<|im_start|>assistant\n"},
       {"", "<|im_end|>\n"},
       "",
       {"<|im_end|>"},
       "<image>",
       false},
      {"yi-vl", {"", "\n\n"}, {"### Human:", "\n"}, {"### Assistant:", "\n"}, kYi, {}, " <image_placeholder>\n", false},
      {"gemma-it",
       {"", ""},
       {"<start_of_turn>user\n", "<end_of_turn>\n"},
       {"<start_of_turn>model\n", "<end_of_turn>\n"},
       "",
       {},
       "<start_of_image>",
       false},
      {"gemma-4-it",
       {"", ""},
       {"<|turn>user\n", "<turn|>\n"},
       {"<|turn>assistant\n", "<turn|>\n"},
       "",
       {},
       "<image>",
       false},
      {"glm-4v",
       {"<|system|>\n", "\n"},
       {"<|user|>\n", "\n"},
       {"<|assistant|>\n", "\n"},
       "",
       {"<|user|>", "<|endoftext|>", "<|observation|>"},
       "<|image|>",
       false},
      {"granite-3-instruct",
       {"<|start_of_role|>system<|end_of_role|>", "<|end_of_text|>"},
       {"<|start_of_role|>user<|end_of_role|>", "<|end_of_text|>"},
       {"<|start_of_role|>assistant<|end_of_role|>", "<|end_of_text|>"},
       "",
       {"<|end_of_text|>"},
       "<image>",
       false},
      {"c4ai-command-r",
       {"<|START_OF_TURN_TOKEN|><|SYSTEM_TOKEN|>", "<|END_OF_TURN_TOKEN|>"},
       {"<|START_OF_TURN_TOKEN|><|USER_TOKEN|>", "<|END_OF_TURN_TOKEN|>"},
       {"<|START_OF_TURN_TOKEN|><|CHATBOT_TOKEN|>", "<|END_OF_TURN_TOKEN|>"},
       "",
       {},
       "<image>",
       false},
      // Not among SGLang's, which takes "default" for it, with bad answers.
      {"smollm2",
       {"<|im_start|>system\n", "<|im_end|>\n"},
       {"<|im_start|>user\n", "<|im_end|>\n"},
       {"<|im_start|>assistant\n", "<|im_end|>\n"},
       kSmol,
       {"<|im_end|>"},
       "<image>",
       false},
  };
  return table;
}

struct Match {
  const char* pattern;
  const char* except;  ///< nullptr: nothing
  const char* name;
};
// The first that is found in the model's path counts, case ignored.
constexpr Match kMatches[] = {
    {"deepseek-(v3|r1)", "base", "deepseek-v3"},
    {"orion", nullptr, "claude"},
    {"janus", nullptr, "janus-pro"},
    {"dbrx.*instruct|instruct.*dbrx", nullptr, "dbrx-instruct"},
    {"vicuna|llava-v1\\.5|llava-next-video-7b", nullptr, "vicuna_v1.1"},
    {"llama-2.*chat|codellama.*instruct", nullptr, "llama-2-chat"},
    {"pixtral|(mistral|mixtral).*instruct", nullptr, "mistral"},
    {"llama-3.*instruct", nullptr, "llama-3-instruct"},
    {"tinyllama", nullptr, "chatml"},
    {"qwen.*vl", nullptr, "qwen2-vl"},
    {"glm[-_]?4(\\.[0-9]+)?v", nullptr, "glm-4v"},
    {"qwen.*(chat|instruct)", "llava", "qwen"},
    {"llava-v1\\.6-34b|llava-v1\\.6-yi-34b|llava-next-video-34b|llava-onevision-qwen2", nullptr, "chatml-llava"},
    {"yi-vl", "llava", "yi-vl"},
    {"yi-1\\.5.*chat", nullptr, "yi-1.5"},
    {"gemma-4.*it", nullptr, "gemma-4-it"},
    {"gemma.*it|gemma-3", nullptr, "gemma-it"},
    {"minicpm-v", nullptr, "minicpmv"},
    {"minicpm-o", nullptr, "minicpmo"},
    {"c4ai-command-r", nullptr, "c4ai-command-r"},
    {"granite.*instruct", nullptr, "granite-3-instruct"},
    {"internvl2_5", nullptr, "internvl-2-5"},
    {"intern-s1|interns1", nullptr, "interns1"},
    {"smollm2?.*instruct", nullptr, "smollm2"},
    {"qwen-?3", "base", "chatml"},
};

bool found(const std::string& text, const char* pattern) {
  return std::regex_search(text, std::regex(pattern, std::regex::icase));
}

}  // namespace

std::vector<std::string> ChatFormat::names() {
  std::vector<std::string> out;
  for (const Row& row : rows()) out.emplace_back(row.name);
  return out;
}

ChatFormat ChatFormat::named(const std::string& name) {
  for (const Row& row : rows()) {
    if (name == row.name) {
      return {.name = row.name,
              .roles = {{"system", row.system}, {"user", row.user}, {"assistant", row.assistant}},
              .default_system = row.default_system,
              .stop = row.stop,
              .image_mark = row.image_mark,
              .system_in_first_user = row.system_in_first_user};
    }
  }
  throw Error(ErrorKind::NotFound,
              fmt::format("there is no chat format \"{}\"; expected one of {}", name, fmt::join(names(), ", ")));
}

ChatFormat ChatFormat::for_model(const std::string& model_path) {
  for (const Match& match : kMatches) {
    if (found(model_path, match.pattern) && !(match.except != nullptr && found(model_path, match.except))) {
      return named(match.name);
    }
  }
  return named("default");
}

}  // namespace sgl
