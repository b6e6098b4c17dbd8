#pragma once
// Writes the formats of structural tags (docs/structured_output.md) as JSON texts.

#include <string>
#include <string_view>
#include <vector>

#include "sgl/request.h"

namespace sgl::tags {

std::string constant(std::string_view text);
std::string regex(std::string_view pattern);
std::string json_schema(std::string_view schema);  ///< the schema's JSON text
std::string any_text();
std::string text_without(std::string_view excluded);
std::string sequence(const std::vector<std::string>& formats);
std::string either(const std::vector<std::string>& formats);
std::string optional(const std::string& format);
std::string tag(std::string_view begin, const std::string& content, std::string_view end);
/// One or more tags; `one`: a single one.
std::string separated(const std::vector<std::string>& tag_formats, std::string_view separator, bool one);
/// Text in which `trigger` begins `rest`; `once`: and ends with that.
std::string triggered(std::string_view trigger, const std::string& rest, bool once);

/// A whole structural tag, as SamplingParams takes it.
std::string whole(const std::string& format);

/// The grammar that a request asks for, as a format; empty if it asks for none. Throws InvalidArgument for a structural
/// tag that has another form than SGLang's two.
std::string of_grammar(const SamplingParams& sampling);

}  // namespace sgl::tags
