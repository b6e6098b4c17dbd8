#pragma once
// Options of a generation: what is not given comes from the run, then from the table.

#include <string>

#include "sgl/program_backend.h"
#include "sgl/program_options.h"

namespace sgl::lang {

/// `own` over `fallback`: each member that is not given is taken from there.
GenOptions merge(const GenOptions& own, const GenOptions& fallback);

/// The last fallback: the values that gen() has where nobody says anything.
const GenOptions& table_of_defaults();

/// Throws InvalidArgument where a value is out of its range or two constraints are given; `what`: "gen(\"x\")".
void check_options(const GenOptions& options, const std::string& what);

/// Throws InvalidArgument if min_tokens is more than max_tokens.
void check_lengths(const GenOptions& options, const std::string& what);

/// Throws Unsupported, naming both, if the options ask for what the backend lacks.
void check_capabilities(const GenOptions& options, const Capabilities& can, const std::string& backend,
                        const std::string& what);

/// gen("name") or gen(), for messages.
std::string call_name(const char* function, const std::string& variable);

}  // namespace sgl::lang
