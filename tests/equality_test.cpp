// Exact equalities on the real default model: a request's tokens and log-probabilities do not depend on what runs
// beside it, on the prefix cache, on how prompts are cut into chunks, on threads, on retraction or on streaming. Bit
// for bit.

#include <algorithm>
#include <bit>
#include <chrono>
#include <condition_variable>
#include <cstdlib>
#include <mutex>
#include <random>
#include <thread>

#include <gtest/gtest.h>

#include "each_isa.h"
#include "sgl/engine.h"

namespace sgl {
namespace {

int num_cases() {
  const char* n = std::getenv("SGL_EQUALITY_CASES");
  return n != nullptr ? std::atoi(n) : 100;
}

uint64_t test_seed() {
  static const uint64_t seed = [] {
    const char* fixed = std::getenv("SGL_TEST_SEED");
    return fixed != nullptr ? std::strtoull(fixed, nullptr, 10) : std::random_device{}();
  }();
  return seed;
}

// Prompts of 1 to 300 tokens, some with common beginnings; all kinds of sampling; prompt log-probabilities now and
// then.
std::vector<Request> random_requests(int n, uint64_t seed) {
  std::mt19937_64 rng(seed);
  auto pick = [&](int m) { return static_cast<int>(rng() % static_cast<uint64_t>(m)); };
  std::vector<std::vector<int32_t>> starts(4);
  for (auto& s : starts) {
    s.resize(200);
    for (int32_t& id : s) id = 100 + pick(40000);
  }
  std::vector<Request> requests;
  for (int i = 0; i < n; ++i) {
    std::vector<int32_t> ids;
    if (pick(2) == 0) {
      const auto& start = starts[static_cast<size_t>(pick(4))];
      ids.assign(start.begin(), start.begin() + 1 + pick(200));
    }
    for (int extra = pick(100); extra >= 0; --extra) ids.push_back(100 + pick(40000));
    Request r;
    r.prompt = std::move(ids);
    r.sampling.max_new_tokens = 1 + pick(64);
    r.sampling.temperature = pick(3) == 0 ? 0.0F : 0.3F + 0.1F * static_cast<float>(pick(12));
    if (pick(3) == 0) r.sampling.top_p = 0.9F;
    if (pick(4) == 0) r.sampling.top_k = 20;
    if (pick(4) == 0) r.sampling.min_p = 0.05F;
    if (pick(4) == 0) r.sampling.frequency_penalty = 0.5F;
    if (pick(4) == 0) r.sampling.repetition_penalty = 1.2F;
    if (pick(6) == 0) r.sampling.presence_penalty = -0.5F;
    if (pick(6) == 0) r.sampling.logit_bias = {{100 + pick(40000), 3.0F}, {100 + pick(40000), -50.0F}};
    if (pick(6) == 0) r.sampling.stop = {"e", " the"};
    if (pick(8) == 0) r.sampling.min_new_tokens = 1 + pick(*r.sampling.max_new_tokens);
    r.sampling.ignore_eos = pick(2) == 0;
    r.sampling.seed = static_cast<int64_t>(rng() >> 1);
    r.return_logprob = true;
    r.top_logprobs_num = pick(3);
    if (pick(4) == 0) r.token_ids_logprob = {100 + pick(40000), 100 + pick(40000)};
    if (pick(8) == 0) r.logprob_start_len = pick(2) == 0 ? 0 : pick(static_cast<int>(std::get<1>(r.prompt).size()));
    requests.push_back(std::move(r));
  }
  return requests;
}

EngineOptions options() {
  EngineOptions o;
  o.threads = 1;
  o.max_total_tokens = 65536;
  o.decode_log_interval = 0;
  return o;
}

const std::vector<Request>& requests() {
  static const std::vector<Request> all = random_requests(num_cases(), test_seed());
  return all;
}

// The reference: one request after the other, one thread, no cache, whole prompts.
std::vector<Output> computed_alone(const std::vector<Request>& all) {
  EngineOptions o = options();
  o.disable_radix_cache = true;
  o.chunked_prefill_size = -1;
  Engine engine(o);
  std::vector<Output> results;
  for (const Request& r : all) results.push_back(engine.generate({r})[0]);
  return results;
}

const std::vector<Output>& expected() {
  static const std::vector<Output> results = computed_alone(requests());
  return results;
}

void expect_bits(const std::vector<PositionLogprobs>& a, const std::vector<PositionLogprobs>& b) {
  ASSERT_EQ(a.size(), b.size());
  auto same = [](const TokenLogprob& x, const TokenLogprob& y) {
    return x.id == y.id && x.logprob.has_value() == y.logprob.has_value() &&
           (!x.logprob || std::bit_cast<uint32_t>(*x.logprob) == std::bit_cast<uint32_t>(*y.logprob));
  };
  for (size_t i = 0; i < a.size(); ++i) {
    ASSERT_TRUE(same(a[i].token, b[i].token)) << "position " << i;
    ASSERT_EQ(a[i].top.size(), b[i].top.size());
    for (size_t j = 0; j < a[i].top.size(); ++j) ASSERT_TRUE(same(a[i].top[j], b[i].top[j])) << "position " << i;
    ASSERT_EQ(a[i].asked.size(), b[i].asked.size());
    for (size_t j = 0; j < a[i].asked.size(); ++j) ASSERT_TRUE(same(a[i].asked[j], b[i].asked[j])) << "position " << i;
  }
}

void expect_equal(const std::vector<Output>& got, const std::vector<Output>& wanted = expected()) {
  ASSERT_EQ(got.size(), wanted.size());
  for (size_t i = 0; i < got.size(); ++i) {
    SCOPED_TRACE("request " + std::to_string(i) + ", SGL_TEST_SEED=" + std::to_string(test_seed()));
    const Output& want = wanted[i];
    ASSERT_EQ(got[i].token_ids, want.token_ids);
    ASSERT_EQ(got[i].text, want.text);
    ASSERT_EQ(got[i].finish.type, want.finish.type);
    ASSERT_NO_FATAL_FAILURE(expect_bits(got[i].logprobs, want.logprobs));
    ASSERT_NO_FATAL_FAILURE(expect_bits(got[i].prompt_logprobs, want.prompt_logprobs));
  }
}

TEST(Equality, AloneIsAnyBatchAndCachedIsCold) {
  Engine engine(options());
  expect_equal(engine.generate(requests()));
  const int64_t cached_before = engine.stats().cached_tokens;
  std::vector<Output> again = engine.generate(requests());
  expect_equal(again);
  EXPECT_GT(engine.stats().cached_tokens, cached_before) << "the second run was meant to hit the cache";
}

TEST(Equality, WholeIsChunkedAtAnySize) {
  for (int chunk : {16, 37, 200}) {
    EngineOptions o = options();
    o.chunked_prefill_size = chunk;
    o.max_running_requests = 7;
    Engine engine(o);
    SCOPED_TRACE("chunked_prefill_size " + std::to_string(chunk));
    expect_equal(engine.generate(requests()));
  }
}

TEST(Equality, OneThreadIsTwoOrThree) {
  for (int threads : {2, 3}) {
    EngineOptions o = options();
    o.threads = threads;
    Engine engine(o);
    SCOPED_TRACE(std::to_string(threads) + " threads");
    expect_equal(engine.generate(requests()));
  }
}

// The other equalities are those of the scheduler, whichever kernels compute; the kernels' own, for all types of
// weights, are in src/ops and golden_test.
TEST(Equality, AloneAndWholeIsBatchedAndChunkedOnEachInstructionSet) {
  const std::vector<Request> some(requests().begin(), requests().begin() + std::min(6, num_cases()));
  testing::on_each_isa([&](CpuIsa) {
    EngineOptions o = options();
    o.chunked_prefill_size = 37;
    expect_equal(Engine(o).generate(some), computed_alone(some));
  });
}

TEST(Equality, RetractedIsNot) {
  // The admission expects that most of these stop early, and none does. The first eight fit together at first, with a
  // page or two each, but need four or five each in the end: pages run out, whatever the prompts are.
  std::vector<Request> all = random_requests(std::max(8, std::min(num_cases(), 100)), test_seed() + 1);
  for (size_t i = 0; i < 8; ++i) {
    auto& ids = std::get<1>(all[i].prompt);
    ids.resize(std::min<size_t>(ids.size(), 16));
    all[i].sampling.stop.clear();
    all[i].logprob_start_len = std::min(all[i].logprob_start_len, 0);
  }
  for (Request& r : all) {
    r.sampling.ignore_eos = false;
    r.sampling.max_new_tokens = 64;
    r.sampling.min_new_tokens = 64;
  }
  EngineOptions o = options();
  o.schedule_policy = "fcfs";
  o.max_total_tokens = 448;  // 28 pages; the longest request needs 364 tokens
  o.context_length = 448;
  o.schedule_conservativeness = 0.05;
  Engine engine(o);
  std::vector<Output> got = engine.generate(all);
  EXPECT_GT(engine.stats().retracted, 0) << "the pool was meant to be too small";
  expect_equal(got, computed_alone(all));
}

TEST(Equality, StreamedIsWhole) {
  Engine engine(options());
  std::mutex mutex;
  std::condition_variable done;
  size_t ended = 0;
  std::vector<Output> whole(requests().size());
  for (size_t i = 0; i < requests().size(); ++i) {
    engine.submit(requests()[i], [&, i](Output&& piece) {
      std::lock_guard lock(mutex);
      Output& w = whole[i];
      w.text += piece.text;
      w.token_ids.insert(w.token_ids.end(), piece.token_ids.begin(), piece.token_ids.end());
      for (auto& p : piece.logprobs) w.logprobs.push_back(std::move(p));
      for (auto& p : piece.prompt_logprobs) w.prompt_logprobs.push_back(std::move(p));
      w.finish = piece.finish;
      if (w.finish.type != FinishReason::Type::Running && ++ended == whole.size()) done.notify_one();
    });
  }
  std::unique_lock lock(mutex);
  done.wait(lock, [&] { return ended == whole.size(); });
  expect_equal(whole);
}

TEST(EngineLife, EndsAnEngineWhileItsRequestsRun) {
  std::vector<FinishReason> ends(8);
  for (int round = 0; round < 3; ++round) {
    EngineOptions o = options();
    o.threads = 2;
    Engine engine(o);
    for (size_t i = 0; i < ends.size(); ++i) {
      Request r = requests()[0];
      r.sampling.ignore_eos = true;
      r.sampling.stop.clear();  // it must run until the engine ends it
      r.sampling.max_new_tokens = 2000;
      engine.submit(r, [&, i](Output&& piece) { ends[i] = piece.finish; });
    }
    while (engine.stats().running == 0) std::this_thread::sleep_for(std::chrono::milliseconds(1));
  }
  for (const FinishReason& end : ends) {
    EXPECT_EQ(end.type, FinishReason::Type::Abort);
    EXPECT_EQ(end.status, 503);
  }
}

// Attention computes what several sequences share once for all of them, in splits of 256 tokens.
TEST(Equality, ManyOnALongPrefixAreEachAlone) {
  std::mt19937_64 rng(test_seed() + 2);
  std::vector<int32_t> prefix(600);
  for (int32_t& id : prefix) id = 100 + static_cast<int32_t>(rng() % 40000);
  std::vector<Request> all(8);
  for (size_t i = 0; i < all.size(); ++i) {
    std::vector<int32_t> ids(prefix.begin(), prefix.begin() + (i < 6 ? 600 : 300));
    for (size_t extra = rng() % 30; extra > 0; --extra) ids.push_back(100 + static_cast<int32_t>(rng() % 40000));
    all[i].prompt = std::move(ids);
    all[i].sampling.max_new_tokens = 16;
    all[i].sampling.temperature = i % 2 == 0 ? 0.0F : 1.0F;
    all[i].sampling.seed = static_cast<int64_t>(i);
    all[i].sampling.ignore_eos = true;
    all[i].return_logprob = true;
  }
  const std::vector<Output> alone = computed_alone(all);
  for (int threads : {1, 2}) {
    EngineOptions o = options();
    o.threads = threads;
    Engine engine(o);
    SCOPED_TRACE(std::to_string(threads) + " threads");
    expect_equal(engine.generate(all), alone);
  }
}

TEST(Equality, ASharedPrefixOf64RequestsIsComputedOnce) {
  Engine engine(options());
  std::mt19937_64 rng(test_seed());
  std::vector<int32_t> prefix(1000);
  for (int32_t& id : prefix) id = 100 + static_cast<int32_t>(rng() % 40000);
  std::vector<Request> all(64);
  for (size_t i = 0; i < all.size(); ++i) {
    std::vector<int32_t> ids = prefix;
    ids.push_back(200 + static_cast<int32_t>(i));
    all[i].prompt = std::move(ids);
    all[i].sampling.max_new_tokens = 4;
    all[i].sampling.temperature = 0;
  }
  int64_t cached = 0;
  for (const Output& out : engine.generate(all)) cached += out.cached_tokens;
  EXPECT_EQ(cached, 63 * 992);  // 62 whole pages of 16
}

}  // namespace
}  // namespace sgl
