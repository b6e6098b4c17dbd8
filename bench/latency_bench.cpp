// Prefill and decode speed of the engine, without HTTP: random prompts, fixed lengths, no prefix sharing.
//
//   latency_bench [--model-path P] [--threads N] [--prompt 512] [--output 128] [--batch 1] [--repeat 3] [--dtype auto]
//
// prefill: prompt tokens / time to the first token of all. decode: further tokens / time after that.

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <future>
#include <random>
#include <string>
#include <vector>

#include "sgl/engine.h"

namespace {

double now() { return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count(); }

struct Sample {
  double prefill_s, decode_s;
};

Sample measure(sgl::Engine& engine, int batch, int prompt, int output, std::mt19937& rng) {
  std::atomic<int> first{0}, ended{0};
  double first_at = 0;
  std::promise<double> all_ended;
  const double start = now();
  for (int i = 0; i < batch; ++i) {
    sgl::Request r;
    std::vector<int32_t> ids(static_cast<size_t>(prompt));
    for (int32_t& id : ids) id = 10 + static_cast<int32_t>(rng() % 30000);
    r.prompt = std::move(ids);
    r.sampling.max_new_tokens = output;
    r.sampling.temperature = 0;
    r.sampling.ignore_eos = true;
    engine.submit(std::move(r), [&](sgl::Output&& out) {
      if (out.completion_tokens == 1 && ++first == batch) first_at = now();
      if (out.finish.type != sgl::FinishReason::Type::Running && ++ended == batch) all_ended.set_value(now());
    });
  }
  const double end = all_ended.get_future().get();
  return {first_at - start, end - first_at};
}

}  // namespace

int main(int argc, char** argv) {
  sgl::EngineOptions options;
  int prompt = 512, output = 128, batch = 1, repeat = 3;
  for (int i = 1; i + 1 < argc; i += 2) {
    const std::string flag = argv[i];
    const char* value = argv[i + 1];
    if (flag == "--model-path") options.model_path = value;
    else if (flag == "--threads") options.threads = std::atoi(value);
    else if (flag == "--prompt") prompt = std::atoi(value);
    else if (flag == "--output") output = std::atoi(value);
    else if (flag == "--batch") batch = std::atoi(value);
    else if (flag == "--repeat") repeat = std::atoi(value);
    else if (flag == "--dtype") options.dtype = value;
    else {
      std::fprintf(stderr, "unknown flag %s\n", flag.c_str());
      return 2;
    }
  }
  options.disable_radix_cache = true;
  options.decode_log_interval = 0;
  options.max_total_tokens = int64_t{batch} * (prompt + output + 32);
  try {
    sgl::Engine engine(options);
    std::mt19937 rng(1);
    measure(engine, batch, std::min(prompt, 64), 4, rng);  // warm up
    std::vector<double> prefill, decode;
    for (int i = 0; i < repeat; ++i) {
      Sample s = measure(engine, batch, prompt, output, rng);
      prefill.push_back(batch * prompt / s.prefill_s);
      decode.push_back(batch * (output - 1) / s.decode_s);
    }
    std::sort(prefill.begin(), prefill.end());
    std::sort(decode.begin(), decode.end());
    std::printf("%s: batch %d, %d in / %d out: prefill %.1f tok/s, decode %.1f tok/s (medians of %d)\n",
                engine.info().device.c_str(), batch, prompt, output, prefill[prefill.size() / 2],
                decode[decode.size() / 2], repeat);
  } catch (const sgl::Error& e) {
    std::fprintf(stderr, "latency_bench: %s\n", e.what());
    return 1;
  }
}
