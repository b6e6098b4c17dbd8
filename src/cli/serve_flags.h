#pragma once
// The flags of `sgl serve`.

#include <string>
#include <vector>

#include "cli/cli.h"

namespace sgl::cli {

/// Sets what the flags name. False: --help was printed. Throws UsageError.
bool parse_serve(const std::vector<std::string>& arguments, World& world, ServerOptions& options);

}  // namespace sgl::cli
