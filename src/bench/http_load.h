#pragma once
// Puts a workload on a server that speaks OpenAI's API, and takes the times.
//
// One thread, a few microseconds a token: the server may share the processor. Every request streams; the times are when
// its pieces came out of the socket.

#include <cstddef>
#include <functional>
#include <string>
#include <vector>

#include "bench/answer.h"
#include "bench/workload.h"

namespace sgl::bench {

/// Whom to ask, and how.
struct Target {
  std::string url;
  std::string api_key;
  std::string model;       ///< empty: the first that the server lists
  bool chat = false;       ///< /v1/chat/completions instead of /v1/completions
  bool ignore_eos = true;  ///< ask for answers of full length; not every server knows the field
  double timeout_s = 600;  ///< of one request
};

/// What came of a workload.
struct LoadResult {
  std::vector<Answer> answers;  ///< in the order of their ends
  double duration_s = 0;
  double client_cpu_s = 0;   ///< processor time of this process meanwhile
  size_t max_in_flight = 0;  ///< requests
};

/// Asks one small thing. Fills in target.model, and clears target.ignore_eos if the server refuses the field. Throws
/// Unavailable when the server is not there or cannot answer.
void prepare(Target& target);

/// Requires: prepare(target). `on_answer` is called at the end of each request. Failed requests are among the answers;
/// the session of such a one ends. Throws Unavailable when the server is not there at the start.
LoadResult run_http(const Target& target, const Workload& workload, const std::function<void()>& on_answer = nullptr);

}  // namespace sgl::bench
