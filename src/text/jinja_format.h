#pragma once
// What the two kinds of formatted text share.

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "text/jinja_runtime.h"

namespace sgl::jinja {

/// The number at `at` in a format, which is moved behind it; nothing if there is none.
std::optional<size_t> read_size(Runtime& rt, std::string_view s, size_t& at);
/// printf's e, f, g of a magnitude: no sign.
std::string format_double(Runtime& rt, double magnitude, char type, size_t precision, bool alternate);
std::string to_base(uint64_t n, unsigned base, bool upper);
uint64_t magnitude_of(int64_t i);
/// repr() in ASCII.
std::string ascii_repr(Runtime& rt, const Value& v);

}  // namespace sgl::jinja
