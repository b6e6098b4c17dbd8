#include "server/prompts.h"

#include <set>
#include <utility>

#include <fmt/format.h>

#include "server/sampling_fields.h"
#include "sgl/error.h"

namespace sgl {
namespace {

[[noreturn]] void refuse(const std::string& message) { throw Error(ErrorKind::InvalidArgument, message); }

}  // namespace

std::vector<Prompt> read_openai_prompts(const Fields& f, std::string_view key) {
  const Json& prompt = f.require(key, "a string, token ids, or a list of either");
  std::vector<Prompt> out;
  if (prompt.is_string()) {
    out.emplace_back(prompt.get<std::string>());
    return out;
  }
  if (!prompt.is_array()) {
    throw ValidationError(fmt::format("{} must be a string, an array of token ids, or an array of either, got {}", key,
                                      describe(prompt)));
  }
  if (prompt.empty()) refuse(fmt::format("{} is an empty list; it must hold at least one {}", key, key));
  if (prompt.front().is_number()) {
    out.emplace_back(read_ids(prompt, std::string(key)));
    return out;
  }
  check_samples(prompt.size(), 1);
  const bool texts = prompt.front().is_string();
  for (size_t i = 0; i < prompt.size(); ++i) {
    const std::string name = fmt::format("{}[{}]", key, i);
    if (!texts) {
      out.emplace_back(read_ids(prompt[i], name));
    } else if (prompt[i].is_string()) {
      out.emplace_back(prompt[i].get<std::string>());
    } else {
      throw ValidationError(
          fmt::format("{} must be a string like the first {}, got {}", name, key, describe(prompt[i])));
    }
  }
  return out;
}

void check_not_blank(std::string_view text, std::string_view name) {
  if (text.find_first_not_of(" \t\r\n") == std::string_view::npos) {
    refuse(fmt::format("{} is empty or white space only", name));
  }
}

NativePrompts read_native_prompts(const Fields& f) {
  const Json* text = f.find("text");
  const Json* ids = f.find("input_ids");
  if ((text != nullptr) == (ids != nullptr)) {
    refuse(
        fmt::format("exactly one of text and input_ids must be given, got {}", text != nullptr ? "both" : "neither"));
  }
  NativePrompts out;
  if (text != nullptr) {
    out.is_list = text->is_array();
    std::vector<std::string> texts = *f.strings("text");
    for (std::string& t : texts) out.list.emplace_back(std::move(t));
  } else if (is_nested_array(*ids)) {
    out.is_list = true;
    for (size_t i = 0; i < ids->size(); ++i)
      out.list.emplace_back(read_ids((*ids)[i], fmt::format("input_ids[{}]", i)));
  } else {
    out.list.emplace_back(read_ids(*ids, "input_ids"));
  }
  if (out.list.empty()) refuse("the list of prompts is empty; it must hold at least one");
  check_samples(out.list.size(), 1);
  return out;
}

std::vector<std::string> read_rids(const Fields& f, size_t count, bool is_list) {
  const Json* value = f.find("rid");
  if (value == nullptr) return std::vector<std::string>(count);
  std::vector<std::string> rids = *f.strings("rid");
  for (const std::string& rid : rids) check_length(rid, "rid");
  if (value->is_string() && is_list) {
    const std::string base = rids[0];
    rids.clear();
    for (size_t i = 0; i < count; ++i) rids.push_back(fmt::format("{}_{}", base, i));
  }
  if (rids.size() != count) refuse(fmt::format("rid has {} entries, but there are {} prompts", rids.size(), count));
  std::set<std::string_view> seen;
  for (const std::string& rid : rids) {
    if (!rid.empty() && !seen.insert(rid).second) refuse(fmt::format("rid {} is given twice", quote(rid)));
  }
  return rids;
}

}  // namespace sgl
