#pragma once
// Bytes as text (RFC 4648, section 4).

#include <string>
#include <string_view>

namespace sgl {

/// With padding, without line breaks.
std::string base64(std::string_view bytes);

}  // namespace sgl
