#include "text/jinja.h"

#include <fmt/format.h>

#include "sgl/error.h"
#include "text/jinja_parser.h"
#include "text/unicode.h"

namespace sgl::jinja {

Template::Template(std::string_view source) {
  if (source.size() > kMaxSourceBytes) {
    throw Error(ErrorKind::CorruptFile,
                fmt::format("the chat template has {} bytes, more than {}", source.size(), kMaxSourceBytes));
  }
  if (!is_valid_utf8(source)) throw Error(ErrorKind::CorruptFile, "the chat template is not valid UTF-8");
  ast_ = std::make_unique<const Ast>(parse(source));
}

Template::~Template() = default;
Template::Template(Template&&) noexcept = default;
Template& Template::operator=(Template&&) noexcept = default;

std::string Template::render(Heap& heap, Variables variables, const RenderOptions& options) const {
  return Runtime(*ast_, heap, options).run(variables);
}

}  // namespace sgl::jinja
