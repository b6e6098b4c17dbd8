#pragma once
// Models that think aloud mark their thoughts: "<think>…</think>answer". Takes the two apart.

#include <string>
#include <string_view>

namespace sgl::lang {

struct ReasoningFormat {
  std::string_view model_type, begin, end;
  bool begins_inside;  ///< the chat template opens the thoughts, so the text may lack `begin`
};

/// Throws InvalidArgument with the names there are.
const ReasoningFormat& find_reasoning_format(std::string_view model_type);

/// Takes a text apart as it comes. Marks may be cut anywhere between two pieces.
class ReasoningSplitter {
 public:
  explicit ReasoningSplitter(const ReasoningFormat& format) : format_(format), inside_(format.begins_inside) {}
  /// More text; what is certainly part of the answer by now.
  std::string add(std::string_view piece);
  /// The rest of the answer. Thoughts without an end are thoughts to the end.
  std::string finish();
  /// The thoughts without space around them.
  std::string reasoning() const;

 private:
  std::string answer(std::string text);

  const ReasoningFormat& format_;
  std::string pending_, reasoning_;
  bool begun_ = false, inside_, answering_ = false;
};

}  // namespace sgl::lang
