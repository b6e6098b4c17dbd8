#pragma once

#include <pthread.h>

namespace sgl {

/// Names the calling thread for top -H, perf and debuggers. At most 15 characters.
inline void name_thread(const char* name) { pthread_setname_np(pthread_self(), name); }

}  // namespace sgl
