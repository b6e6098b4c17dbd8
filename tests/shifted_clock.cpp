// Preloaded into a program, shifts its wall clock by as many seconds as stand in the file SHIFTED_CLOCK names, an int64
// that may change at any time. The steady clock goes on as it does. Part of clock_test.py, which compiles it.

#include <cstdint>
#include <cstdlib>
#include <ctime>
#include <fcntl.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <unistd.h>

namespace {

const volatile int64_t* shift = nullptr;

__attribute__((constructor)) void map_shift() {
  const char* path = std::getenv("SHIFTED_CLOCK");
  const int file = path != nullptr ? open(path, O_RDONLY) : -1;
  if (file < 0) return;
  void* mapped = mmap(nullptr, sizeof *shift, PROT_READ, MAP_SHARED, file, 0);
  close(file);
  if (mapped != MAP_FAILED) shift = static_cast<const int64_t*>(mapped);
}

}  // namespace

extern "C" {

int clock_gettime(clockid_t clock, timespec* to) noexcept {
  const auto result = static_cast<int>(syscall(SYS_clock_gettime, clock, to));
  const bool wall = clock == CLOCK_REALTIME || clock == CLOCK_REALTIME_COARSE;
  if (result == 0 && wall && shift != nullptr) to->tv_sec += *shift;
  return result;
}

time_t time(time_t* to) noexcept {
  timespec now{};
  clock_gettime(CLOCK_REALTIME, &now);
  if (to != nullptr) *to = now.tv_sec;
  return now.tv_sec;
}

int gettimeofday(timeval* to, void* /*zone*/) noexcept {
  timespec now{};
  clock_gettime(CLOCK_REALTIME, &now);
  to->tv_sec = now.tv_sec;
  to->tv_usec = now.tv_nsec / 1000;
  return 0;
}

}  // extern "C"
