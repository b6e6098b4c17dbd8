#include "server/structural_tags.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include "server/json_reader.h"
#include "server/json_writer.h"

namespace sgl::tags {
namespace {

std::string json_text(std::string_view text) {
  std::string out;
  append_json_string(out, text);
  return out;
}
std::string list(const std::vector<std::string>& formats) { return fmt::format("[{}]", fmt::join(formats, ",")); }

// SGLang's first form, {"structures": [{"begin", "schema", "end"}, …], "triggers": […]}, as a format.
std::string triggered_tags(const Json& given) {
  const auto refuse = [](const std::string& what) {
    throw Error(ErrorKind::InvalidArgument,
                fmt::format("structural_tag: {}; expected {{\"structures\": [{{\"begin\", \"schema\", \"end\"}}, …], "
                            "\"triggers\": […]}}",
                            what));
  };
  for (const auto& [key, value] : given.items()) {
    if (key != "type" && key != "structures" && key != "triggers") refuse(fmt::format("got {}", quote(key)));
  }
  Json tags = Json::array();
  if (!given["structures"].is_array()) refuse("'structures' is no list");
  for (const Json& part : given["structures"]) {
    if (!part.is_object() || part.size() != 3 || !part.contains("begin") || !part.contains("schema") ||
        !part.contains("end")) {
      refuse("one of 'structures' has other members");
    }
    Json content = {{"type", "json_schema"}, {"json_schema", part["schema"]}};
    tags.push_back({{"type", "tag"}, {"begin", part["begin"]}, {"content", content}, {"end", part["end"]}});
  }
  return Json({{"type", "triggered_tags"}, {"triggers", given["triggers"]}, {"tags", tags}}).dump();
}

}  // namespace

std::string constant(std::string_view text) {
  return fmt::format(R"({{"type":"const_string","value":{}}})", json_text(text));
}

std::string regex(std::string_view pattern) {
  return fmt::format(R"({{"type":"regex","pattern":{}}})", json_text(pattern));
}

std::string json_schema(std::string_view schema) {
  return fmt::format(R"({{"type":"json_schema","json_schema":{}}})", schema);
}

std::string any_text() { return R"({"type":"any_text"})"; }

std::string text_without(std::string_view excluded) {
  return fmt::format(R"({{"type":"any_text","excludes":[{}]}})", json_text(excluded));
}

std::string sequence(const std::vector<std::string>& formats) {
  return fmt::format(R"({{"type":"sequence","elements":{}}})", list(formats));
}

std::string either(const std::vector<std::string>& formats) {
  return fmt::format(R"({{"type":"or","elements":{}}})", list(formats));
}

std::string optional(const std::string& format) { return either({constant(""), format}); }

std::string tag(std::string_view begin, const std::string& content, std::string_view end) {
  return fmt::format(R"({{"type":"tag","begin":{},"content":{},"end":{}}})", json_text(begin), content, json_text(end));
}

std::string separated(const std::vector<std::string>& tag_formats, std::string_view separator, bool one) {
  return fmt::format(
      R"({{"type":"tags_with_separator","tags":{},"separator":{},"at_least_one":true,"stop_after_first":{}}})",
      list(tag_formats), json_text(separator), one);
}

std::string triggered(std::string_view trigger, const std::string& rest, bool once) {
  return fmt::format(R"({{"type":"triggered_tags","triggers":[{}],"tags":[{}],"stop_after_first":{}}})",
                     json_text(trigger), tag(trigger, rest, ""), once);
}

std::string whole(const std::string& format) {
  return fmt::format(R"({{"type":"structural_tag","format":{}}})", format);
}

std::string of_grammar(const SamplingParams& s) {
  if (!s.regex.empty()) return regex(s.regex);
  if (!s.ebnf.empty()) return fmt::format(R"({{"type":"grammar","grammar":{}}})", json_text(s.ebnf));
  if (s.json_schema == "$$ANY$$") return json_schema("true");
  if (!s.json_schema.empty()) return json_schema(s.json_schema);
  if (s.structural_tag.empty()) return "";
  const Json given = parse_json(s.structural_tag);
  const auto format = given.find("format");
  if (format == given.end() && given.contains("structures") && given.contains("triggers")) return triggered_tags(given);
  if (format == given.end()) {
    throw Error(ErrorKind::InvalidArgument,
                "structural_tag: beside tools or thinking it must have the form {\"type\": \"structural_tag\", "
                "\"format\": {…}}");
  }
  for (const auto& [key, value] : given.items()) {
    if (key != "format" && key != "type") {
      throw Error(ErrorKind::Unsupported,
                  fmt::format("structural_tag: {} beside 'format' is not supported", quote(key)));
    }
  }
  return format->dump();
}

}  // namespace sgl::tags
