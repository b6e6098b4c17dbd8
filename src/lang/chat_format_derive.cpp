// Reads a ChatFormat off a model's own chat template.
//
// Conversations of marks are rendered, and what stands between the marks is cut out:
//
//   [user U, assistant A, user V]   →   head U mid A joint V tail…
//
// A turn's suffix is what follows its content when nothing follows it; the next turn's prefix is the rest up to its
// content. An assistant's prefix comes from the generation prompt, since that is where a model goes on.

#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "sgl/program_backend.h"

namespace sgl {
namespace {

// Plain words, so that no template trims or changes them.
constexpr std::string_view kSystem = "SYSMARK1", kUser = "USRMARK1", kAssistant = "ASTMARK1", kUser2 = "USRMARK2";

class Renderer {
 public:
  explicit Renderer(const std::function<std::optional<std::string>(const ChatPrompt&)>& render) : render_(render) {}

  std::optional<std::string> operator()(const std::vector<std::pair<std::string, std::string_view>>& turns,
                                        bool generation_prompt = false) const {
    ChatPrompt chat;
    chat.add_generation_prompt = generation_prompt;
    for (const auto& [role, text] : turns) {
      ChatMessage message;
      message.role = role;
      message.parts = {{ContentPart::Type::Text, std::string(text)}};
      chat.messages.push_back(std::move(message));
    }
    try {
      return render_(chat);
    } catch (const Error&) {
      return std::nullopt;
    }
  }

 private:
  const std::function<std::optional<std::string>(const ChatPrompt&)>& render_;
};

/// What stands between two marks, or before the first one (`from` empty), or behind the last one (`to` empty).
std::optional<std::string> between(const std::optional<std::string>& text, std::string_view from, std::string_view to) {
  if (!text) return std::nullopt;
  size_t begin = 0;
  if (!from.empty()) {
    begin = text->find(from);
    if (begin == std::string::npos) return std::nullopt;
    begin += from.size();
  }
  const size_t end = to.empty() ? text->size() : text->find(to, begin);
  if (end == std::string::npos) return std::nullopt;
  return text->substr(begin, end - begin);
}

/// `text` without `prefix`; nothing if it does not begin so.
std::optional<std::string> behind(const std::optional<std::string>& text, const std::string& prefix) {
  if (!text || !text->starts_with(prefix)) return std::nullopt;
  return text->substr(prefix.size());
}

}  // namespace

std::optional<ChatFormat> ChatFormat::derive(
    const std::function<std::optional<std::string>(const ChatPrompt&)>& render_chat, const std::string& bos) {
  const Renderer render(render_chat);
  const auto user_alone = render({{"user", kUser}});
  const auto user_prompted = render({{"user", kUser}}, true);
  const auto three = render({{"user", kUser}, {"assistant", kAssistant}, {"user", kUser2}});
  const auto two = render({{"user", kUser}, {"assistant", kAssistant}});
  const auto head = between(user_alone, {}, kUser);
  const auto user_suffix = between(user_alone, kUser, {});
  const auto assistant_suffix = between(two, kAssistant, {});
  if (!head || !user_suffix || !assistant_suffix) return std::nullopt;
  const auto assistant_prefix = behind(between(user_prompted, kUser, {}), *user_suffix);
  const auto user_prefix = behind(between(three, kAssistant, kUser2), *assistant_suffix);
  // A template with other marks around the first user turn than around the next is not made of fixed turns.
  if (!assistant_prefix || !user_prefix || user_prefix->empty() || !head->ends_with(*user_prefix)) return std::nullopt;

  ChatFormat out;
  out.name = "model";
  out.roles["user"] = {*user_prefix, *user_suffix};
  out.roles["assistant"] = {*assistant_prefix, *assistant_suffix};

  auto without_bos = [&](const std::string& text) {
    return !bos.empty() && text.starts_with(bos) ? text.substr(bos.size()) : text;  // the tokenizer adds it
  };
  const std::string opening = without_bos(head->substr(0, head->size() - user_prefix->size()));
  const auto with_system = render({{"system", kSystem}, {"user", kUser}});
  const auto system_head = between(with_system, {}, kSystem);
  const auto system_joint = between(with_system, kSystem, kUser);
  if (system_head && system_joint && system_joint->ends_with(*user_prefix)) {
    Role system{without_bos(*system_head), system_joint->substr(0, system_joint->size() - user_prefix->size())};
    // What opens a conversation without a system turn is the default one, if it has that form.
    if (opening.size() > system.prefix.size() + system.suffix.size() && opening.starts_with(system.prefix) &&
        opening.ends_with(system.suffix)) {
      out.default_system =
          opening.substr(system.prefix.size(), opening.size() - system.prefix.size() - system.suffix.size());
    } else if (!opening.empty()) {
      return std::nullopt;
    }
    out.roles["system"] = std::move(system);
  } else if (system_head || !opening.empty()) {
    return std::nullopt;  // the system turn is woven into another
  } else {
    out.roles["system"] = {};
  }
  return out;
}

}  // namespace sgl
