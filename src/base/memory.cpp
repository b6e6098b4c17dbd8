#include "base/memory.h"

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <charconv>
#include <cstring>
#include <fstream>
#include <linux/mempolicy.h>
#include <string>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <climits>
#include <fmt/format.h>

#include "sgl/error.h"

namespace sgl {
namespace {

constexpr size_t kLargeFrom = size_t{4} << 20;
constexpr int kMostNodes = 1024;
std::atomic<Numa> g_numa{Numa::Local};

// A wish: where the kernel has no such policy, pages lie where they would without.
void interleave(void* p, size_t bytes) {
  constexpr int kBits = sizeof(unsigned long) * CHAR_BIT;
  unsigned long mask[kMostNodes / kBits] = {};
  for (int node : memory_nodes()) mask[node / kBits] |= 1UL << (node % kBits);
  ::syscall(SYS_mbind, p, bytes, MPOL_INTERLEAVE, mask, static_cast<unsigned long>(kMostNodes), 0U);
}

// The first word of a "Name:  word …" line; empty if there is none.
std::string word_of_line(const char* file, const std::string& name) {
  std::ifstream in(file);
  std::string key, word;
  while (in >> key) {
    if (key == name + ":" && in >> word) return word;
    in.ignore(1 << 16, '\n');
  }
  return {};
}

// Value in bytes of a "Name:  123 kB" line; 0 if absent.
int64_t kilobytes_line(const char* file, const std::string& name) {
  const std::string word = word_of_line(file, name);
  int64_t value = 0;
  std::from_chars(word.data(), word.data() + word.size(), value);
  return value * 1024;
}

// A control group file that holds one number, or "max"; −1 if absent or without limit.
int64_t group_number(const char* file) {
  std::ifstream in(file);
  int64_t value = -1;
  return in >> value ? value : -1;
}

}  // namespace

void set_numa(Numa numa) { g_numa = numa; }

std::vector<int> parse_number_list(std::string_view list) {
  std::vector<int> numbers;
  const char* at = list.data();
  const char* const end = at + list.size();
  auto number = [&](int& value) {
    auto [next, error] = std::from_chars(at, end, value);
    at = next;
    return error == std::errc() && value >= 0 && value < kMostNodes;
  };
  while (at != end) {
    int first = 0, last = 0;
    if (!number(first)) return {};
    last = first;
    if (at != end && *at == '-' && (++at, !number(last) || last < first)) return {};
    for (int i = first; i <= last; ++i) numbers.push_back(i);
    if (at != end && (*at++ != ',' || at == end)) return {};
  }
  return numbers;
}

std::vector<int> memory_nodes() { return parse_number_list(word_of_line("/proc/self/status", "Mems_allowed_list")); }

void* map_memory(size_t bytes) {
  void* p = ::mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (p == MAP_FAILED) {
    throw Error(ErrorKind::ResourceExhausted,
                fmt::format("the system refuses {} bytes of memory: {}", bytes, std::strerror(errno)));
  }
  if (bytes >= kLargeFrom) {
    ::madvise(p, bytes, MADV_HUGEPAGE);
    if (g_numa == Numa::Interleave) interleave(p, bytes);
  }
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
