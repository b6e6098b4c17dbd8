#include "base/memory.h"

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <fstream>
#include <string>
#include <sys/mman.h>

#include <fmt/format.h>

#include "sgl/error.h"

namespace sgl {
namespace {

constexpr size_t kHugePagesFrom = size_t{4} << 20;

// Value in bytes of a "Name:  123 kB" line; 0 if absent.
int64_t kilobytes_line(const char* file, const std::string& name) {
  std::ifstream in(file);
  std::string key;
  int64_t value = 0;
  while (in >> key) {
    if (key == name + ":" && in >> value) return value * 1024;
    in.ignore(1 << 16, '\n');
  }
  return 0;
}

// A control group file that holds one number, or "max"; −1 if absent or without limit.
int64_t group_number(const char* file) {
  std::ifstream in(file);
  int64_t value = -1;
  return in >> value ? value : -1;
}

}  // namespace

void* map_memory(size_t bytes) {
  void* p = ::mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (p == MAP_FAILED) {
    throw Error(ErrorKind::ResourceExhausted,
                fmt::format("the system refuses {} bytes of memory: {}", bytes, std::strerror(errno)));
  }
  if (bytes >= kHugePagesFrom) ::madvise(p, bytes, MADV_HUGEPAGE);
  return p;
}

void unmap_memory(void* p, size_t bytes) { ::munmap(p, bytes); }

int64_t available_memory() {
  int64_t free = kilobytes_line("/proc/meminfo", "MemAvailable");
  int64_t limit = group_number("/sys/fs/cgroup/memory.max");
  int64_t used = group_number("/sys/fs/cgroup/memory.current");
  if (limit >= 0 && used >= 0) free = std::min(free, std::max<int64_t>(limit - used, 0));
  return free;
}

int64_t peak_resident_memory() { return kilobytes_line("/proc/self/status", "VmHWM"); }

int64_t resident_memory() { return kilobytes_line("/proc/self/status", "VmRSS"); }

}  // namespace sgl
