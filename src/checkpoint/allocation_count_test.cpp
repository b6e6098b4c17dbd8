// Counts what the test program allocates. In a file of its own, so that the compiler does not mix these with its own
// idea of new and delete.

#include <atomic>
#include <cstddef>
#include <cstdlib>
#include <new>

#include "checkpoint/test_files.h"

namespace {
std::atomic<size_t> total{0};
}

// Every other form of new calls this one.
void* operator new(size_t bytes) {
  total += bytes;
  if (void* p = std::malloc(bytes)) return p;
  throw std::bad_alloc();
}
void operator delete(void* p) noexcept { std::free(p); }
void operator delete(void* p, size_t) noexcept { std::free(p); }

size_t sgl::testing::allocated_bytes() { return total; }
