#pragma once
// Puts a workload on the engine in this process, without HTTP, and takes the same times as http_load.h.

#include <functional>

#include "bench/http_load.h"
#include "bench/workload.h"
#include "server/engine_api.h"

namespace sgl::bench {

/// Answers are greedy and have full length. An engine without a tokenizer gets token ids, one for each word.
/// `on_answer` is called at the end of each request.
LoadResult run_offline(EngineApi& engine, const Workload& workload, const std::function<void()>& on_answer = nullptr);

}  // namespace sgl::bench
