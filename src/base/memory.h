#pragma once
// Memory from the system, and what the system says about memory.

#include <cstddef>
#include <cstdint>

namespace sgl {

/// Fresh pages, zero on first touch, aligned to a page; huge pages are asked for from 4 MiB on.
/// Throws ResourceExhausted with the size when the system refuses.
void* map_memory(size_t bytes);
void unmap_memory(void* p, size_t bytes);

/// Memory that new allocations can take without swapping, in bytes: the system's estimate, cut to the limit of this
/// process's control group. 0 if unknown.
int64_t available_memory();

/// Peak resident set of this process, in bytes.
int64_t peak_resident_memory();
/// Resident set of this process now, in bytes.
int64_t resident_memory();

}  // namespace sgl
