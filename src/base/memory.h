#pragma once
// Memory from the system, and what the system says about memory.

#include <cstddef>
#include <cstdint>
#include <string_view>
#include <vector>

namespace sgl {

/// Where the pages of large mappings lie on a machine with several memory nodes (sockets, as a rule).
enum class Numa : uint8_t {
  Local,       ///< at the thread that touches a page first, as the system does by itself
  Interleave,  ///< in turns on all nodes: every thread reads at the speed of all nodes together
};

/// For this process's mappings of 4 MiB and more from now on, whoever makes them; Local at first. A setting of the
/// process, as memory is its resource: of several engines the last one that was made decides. Thread-safe.
void set_numa(Numa numa);

/// The numbers of the memory nodes that this process may use; empty where the system does not say.
std::vector<int> memory_nodes();
/// Numbers of a list as Linux writes them, "0-2,5"; empty if it is none.
std::vector<int> parse_number_list(std::string_view list);

/// Fresh pages, zero on first touch, aligned to a page; huge pages are asked for from 4 MiB on, and set_numa() holds.
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
