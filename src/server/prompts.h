#pragma once
// What a request is about, in the forms that clients send it.

#include <cstddef>
#include <string>
#include <string_view>
#include <vector>

#include "server/json_reader.h"
#include "sgl/request.h"

namespace sgl {

using Prompt = decltype(Request::prompt);

/// The field `key` of an OpenAI request: a string, token ids, or a list of either. Throws ValidationError naming the
/// field, InvalidArgument for an empty list or one that is too long.
std::vector<Prompt> read_openai_prompts(const Fields& fields, std::string_view key);

struct NativePrompts {
  std::vector<Prompt> list;
  bool is_list = false;  ///< a list was sent, if only of one: the answer is one, too
};

/// `text` or `input_ids` of a native request. Throws as read_openai_prompts().
NativePrompts read_native_prompts(const Fields& fields);

/// `rid` of a native request with `count` prompts: a name for each, empty where none is given. One name for a list
/// becomes "name_0", "name_1", … Throws InvalidArgument for a wrong number of them or one that is given twice.
std::vector<std::string> read_rids(const Fields& fields, size_t count, bool is_list);

/// Throws InvalidArgument naming the field if a text is empty or white space only: there is nothing to embed.
void check_not_blank(std::string_view text, std::string_view name);

}  // namespace sgl
