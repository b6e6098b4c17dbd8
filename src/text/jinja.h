#pragma once
// The template language of chat templates: an engine for the part of Jinja (https://jinja.palletsprojects.com, 3.1)
// that they use, as Python renders them. Not supported, with a clear error: inheritance, includes, imports, autoescape.

#include <memory>
#include <string>
#include <string_view>

#include "text/jinja_runtime.h"
#include "text/jinja_value.h"

namespace sgl::jinja {

/// A parsed template. Immutable: any number of threads may render it at the same time, each with a Heap of its own.
class Template {
 public:
  /// Throws CorruptFile or Unsupported with the line. `source`: at most kMaxSourceBytes, valid UTF-8.
  explicit Template(std::string_view source);
  ~Template();
  Template(Template&&) noexcept;
  Template& operator=(Template&&) noexcept;

  /// The text that the template makes of the variables, whose values must live on `heap` or outlive the call. Throws
  /// InvalidArgument, with the template's line, where Python would raise, and beyond the limits of `options` and
  /// `heap`.
  std::string render(Heap& heap, Variables variables, const RenderOptions& options = {}) const;

  static constexpr size_t kMaxSourceBytes = size_t{1} << 20;

 private:
  std::unique_ptr<const Ast> ast_;
};

}  // namespace sgl::jinja
