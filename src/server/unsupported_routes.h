#pragma once
// What SGLang's and other servers' clients may ask for and sgl does not do: one table, from which the routes answer 501
// and which docs/operations.md lists.

#include <span>
#include <string_view>

#include "server/access.h"
#include "server/http.h"

namespace sgl {

struct UnsupportedRoute {
  std::string_view path;  ///< ending in '*': every path that goes on from there
  unsigned methods;       ///< of enum Methods
  Access access;
  std::string_view why;  ///< a sentence for the client: what there is instead, or why not
};

std::span<const UnsupportedRoute> unsupported_routes();

}  // namespace sgl
