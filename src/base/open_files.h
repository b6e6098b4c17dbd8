#pragma once
// How many files and sockets this process may have open.

#include <cstdint>

namespace sgl {

/// Raises the limit as far as a process may by itself (on most systems from 1,024 to some hundred thousand) and returns
/// it. Never lowers it.
int64_t raise_open_files_limit();

}  // namespace sgl
