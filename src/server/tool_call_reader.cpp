#include "server/tool_call_reader.h"

#include <algorithm>
#include <utility>

#include "server/json_writer.h"
#include "server/python_literal.h"
#include "server/tag_text.h"

namespace sgl {
namespace {

// The object is the arguments.
class ArgumentsReader final : public ToolCallReader {
 public:
  explicit ArgumentsReader(std::string name) : ToolCallReader(std::move(name)) {}

  Scan scan(std::string_view text) override {
    const Scan result = json_.scan(text);
    position_ = json_.position();
    const size_t begin = skip_space(text);
    if (begin < position_) arguments_ = text.substr(begin, position_ - begin);
    return result;
  }

 private:
  JsonScanner json_;
};

// The object holds name and arguments. The arguments are given as the model wrote them.
class NamedReader final : public ToolCallReader {
 public:
  NamedReader() : ToolCallReader("") {}

  Scan scan(std::string_view text) override {
    const Scan result = json_.scan(text);
    position_ = json_.position();
    for (; known_ < json_.members().size(); ++known_) {
      const JsonScanner::Member& member = json_.members()[known_];
      if (member.begin == JsonScanner::Member::kOpen) break;
      const bool ended = member.end != JsonScanner::Member::kOpen;
      const std::string_view value = text.substr(member.begin, (ended ? member.end : position_) - member.begin);
      if (member.key == "name" && ended) {
        if (!name_.empty() || value.front() != '"') return Scan::Broken;
        const Json name = Json::parse(value, nullptr, false);
        if (!name.is_string()) return Scan::Broken;
        name_ = name.get<std::string>();
      } else if (member.key == "arguments" || member.key == "parameters") {
        if ((arguments_from_ != kNone && arguments_from_ != known_) || value.front() != '{') return Scan::Broken;
        arguments_from_ = known_;
        arguments_ = value;
      }
      if (!ended) break;
    }
    if (result == Scan::Done && name_.empty()) return Scan::Broken;
    if (result == Scan::Done && arguments_from_ == kNone) arguments_ = "{}";
    return result;
  }

 private:
  static constexpr size_t kNone = static_cast<size_t>(-1);
  JsonScanner json_;
  size_t known_ = 0;  ///< members that have been looked at whole
  size_t arguments_from_ = kNone;
};

// Keyword arguments up to the parenthesis that closes the call. They are read when they are all there: until then only
// quotes and brackets are followed.
class PythonReader final : public ToolCallReader {
 public:
  explicit PythonReader(std::string name) : ToolCallReader(std::move(name)) {}

  Scan scan(std::string_view text) override {
    for (; position_ < text.size(); ++position_) {
      const char c = text[position_];
      if (escaped_) {
        escaped_ = false;
      } else if (quote_ != 0) {
        escaped_ = c == '\\';
        if (c == quote_) quote_ = 0;
      } else if (c == '"' || c == '\'') {
        quote_ = c;
      } else if (c == '(' || c == '[' || c == '{') {
        ++depth_;
      } else if ((c == ')' || c == ']' || c == '}') && depth_-- == 0) {
        if (c != ')') return Scan::Broken;
        auto json = python_arguments_to_json(text.substr(0, position_));
        if (!json) return Scan::Broken;
        arguments_ = std::move(*json);
        ++position_;
        return Scan::Done;
      }
    }
    return Scan::More;
  }

 private:
  int depth_ = 0;
  char quote_ = 0;
  bool escaped_ = false;
};

// <parameter=NAME> VALUE </parameter> … </function>. A value is text; what it means, the schema says.
class TagsReader final : public ToolCallReader {
 public:
  explicit TagsReader(const Tool& tool) : ToolCallReader(tool.name), parameters_(tool.parameters) {}

  Scan scan(std::string_view text) override {
    constexpr std::string_view kOpen = "<parameter=", kClose = "</parameter>", kEnd = "</function>";
    while (true) {
      if (in_value_) {
        const size_t end = text.find(kClose, searched_);
        if (end == std::string_view::npos) {
          searched_ = std::max(position_, text.size() - std::min(text.size(), kClose.size() - 1));
          return Scan::More;
        }
        append_value(text.substr(position_, end - position_));
        position_ = end + kClose.size();
        in_value_ = false;
      }
      const size_t at = skip_space(text, position_);
      size_t length = 0;
      const TagMatch open = match_tag(text.substr(at), kOpen, length), end = match_tag(text.substr(at), kEnd, length);
      if (end == TagMatch::Yes) {
        arguments_ = "{" + members_ + "}";
        position_ = at + length;
        return Scan::Done;
      }
      if (open == TagMatch::No && end == TagMatch::No) return Scan::Broken;
      if (open != TagMatch::Yes) return Scan::More;
      const size_t key = at + kOpen.size(), close = text.find('>', key);
      const size_t line = text.find('\n', key);
      if (line < close) return Scan::Broken;
      if (close == std::string_view::npos) return Scan::More;
      key_ = text.substr(key, close - key);
      position_ = searched_ = close + 1;
      in_value_ = true;
    }
  }

 private:
  void append_value(std::string_view value) {
    if (value.starts_with('\n')) value.remove_prefix(1);
    if (value.ends_with('\n')) value.remove_suffix(1);
    if (!members_.empty()) members_ += ", ";
    append_json_string(members_, key_);
    members_ += ": ";
    const auto literal = is_text() ? std::nullopt : python_literal_to_json(value);
    if (literal) {
      members_ += *literal;
    } else {
      append_json_string(members_, value);
    }
  }
  // Whether the parameter is a string, or unknown.
  bool is_text() const {
    const auto properties = parameters_.find("properties");
    if (properties == parameters_.end() || !properties->is_object()) return true;
    const auto schema = properties->find(key_);
    return schema == properties->end() || is_text_parameter(*schema);
  }

  const Json& parameters_;
  std::string key_, members_;
  bool in_value_ = false;
  size_t searched_ = 0;  ///< the value's end does not begin before
};

}  // namespace

std::unique_ptr<ToolCallReader> make_call_reader(CallBody body, const Tool* tool) {
  if (tool == nullptr) return std::make_unique<NamedReader>();
  if (body == CallBody::Python) return std::make_unique<PythonReader>(tool->name);
  if (body == CallBody::Tags) return std::make_unique<TagsReader>(*tool);
  return std::make_unique<ArgumentsReader>(tool->name);
}

}  // namespace sgl
