// Runs: errors and cancelling, streams, batches, traces. Everything that could hang has a deadline.

#include <atomic>
#include <semaphore>
#include <span>
#include <thread>

#include "lang/test_programs.h"

namespace sgl {
namespace {

std::shared_ptr<ScriptedBackend> failing(const std::string& variable, std::chrono::microseconds latency = 1ms) {
  auto backend = std::make_shared<ScriptedBackend>([variable](const GenerateCall& call) -> std::string {
    if (call.variable == variable) throw Error(ErrorKind::Server, "server answered 400: no", 400, "r7");
    return "ok";
  });
  backend->set_latency(latency);
  return backend;
}

// ── Errors ───────────────────────────────────────────────────────────────────────────────────────────────────────────

TEST(Errors, AFailedGenerationPoisonsTheStateAndNothingHangs) {
  within_patience([] {
    auto backend = failing("bad");
    run_with({.backend = backend}, [](State& s) {
      s += gen("good");
      s += gen("bad");
      s += "text" + gen("after");
      const Error error = error_of([&] { s["bad"].str(); });
      EXPECT_EQ(error.kind(), ErrorKind::Server);
      EXPECT_EQ(error.status(), 400);
      EXPECT_EQ(error.rid(), "r7");
      EXPECT_EQ(std::string(error.what()), "reading \"bad\": server answered 400: no");
      EXPECT_EQ(error_of([&] { s["after"].str(); }).status(), 400);
      EXPECT_EQ(s["good"], "ok");  // finished before
      s += "more" + gen("later");  // ignored
      EXPECT_EQ(error_of([&] { s["later"].str(); }).status(), 400);
      EXPECT_EQ(error_of([&] { s.sync(); }).status(), 400);
      EXPECT_EQ(error_of([&] { s.text(); }).status(), 400);
      EXPECT_EQ(error_of([&] { s.fork(2); }).status(), 400);
      ASSERT_NE(s.error(), nullptr);
      EXPECT_EQ(s.error()->status(), 400);
      EXPECT_EQ(s.partial_text(), "ok");
    });
    EXPECT_EQ(backend->calls().size(), 2);
  });
}

TEST(Errors, CapturesAndWaitersOfAPoisonedStateEnd) {
  within_patience([] {
    auto bad = run_with({.backend = failing("bad", 20ms)}, [](State& s) {
      auto scope = s.capture("all");
      s += gen("bad");
    });
    auto r = run_with({.backend = scripted({"x"})}, [&](State& s) { s += "got " + bad["all"] + gen("x"); });
    EXPECT_EQ(error_of([&] { r["x"].str(); }).status(), 400);
    EXPECT_EQ(error_of([&] { bad["all"].list(); }).status(), 400);
    EXPECT_NE(bad["all"].error(), nullptr);
  });
}

TEST(Errors, ThoughtsOfAGenerationThatFailsOrIsCancelledEnd) {
  within_patience([] {
    auto body = [](State& s) { s += separate_reasoning(gen("bad"), "qwen3"); };
    auto failed = run_with({.backend = failing("bad", 20ms)}, body);
    EXPECT_EQ(error_of([&] { failed["bad_reasoning_content"].str(); }).status(), 400);

    auto door = std::make_shared<Door>();
    auto cancelled = run_with({.backend = behind(door, "late")}, body);
    cancelled.cancel();
    EXPECT_EQ(error_of([&] { cancelled["bad_reasoning_content"].str(); }).kind(), ErrorKind::Cancelled);
    door->open();
  });
}

TEST(Errors, ABackendThatThrowsWhenItIsAskedIsAnErrorToo) {
  struct Broken : ScriptedBackend {
    Broken() : ScriptedBackend(std::vector<std::string>{"x"}) {}
    void generate(GenerateCall, GenerateSink) override { throw std::runtime_error("out of order"); }
  };
  within_patience([] {
    auto r = run_with({.backend = std::make_shared<Broken>()}, [](State& s) { s += gen("x"); });
    const Error error = error_of([&] { r["x"].str(); });
    EXPECT_EQ(error.kind(), ErrorKind::Internal);
    EXPECT_TRUE(contains(error.what(), "out of order"));
  });
}

TEST(Errors, TheBodysExceptionLeavesRunAsItIs) {
  within_patience([] {
    EXPECT_THROW(run_with({.backend = scripted({"x"})}, [](State&) { throw std::out_of_range("mine"); }),
                 std::out_of_range);
  });
}

TEST(Errors, AppendingAListIsAnError) {
  within_patience([] {
    run_with({.backend = scripted({"a", "b"})}, [](State& s) {
      s += gen("x", {.n = 2});
      s += s["x"];
      EXPECT_EQ(error_of([&] { s.sync(); }).kind(), ErrorKind::WrongType);
    });
  });
}

// ── Cancelling ───────────────────────────────────────────────────────────────────────────────────────────────────────

TEST(Cancel, ADroppedRunGivesItsCallsUp) {
  within_patience([] {
    auto door = std::make_shared<Door>();
    auto backend = behind(door, "a");
    auto first = run_with({.backend = backend}, [](State& s) { s += gen("a"); });
    EXPECT_TRUE(eventually([&] { return backend->calls().size() == 1; }));
    std::optional<Var> kept;
    {
      auto r = run_with({.backend = backend}, [](State& s) { s += gen("x") + gen("y"); });
      kept = r["y"];
      EXPECT_TRUE(eventually([&] { return backend->calls().size() == 2; })) << "x waits behind a";
    }
    EXPECT_EQ(error_of([&] { kept->str(); }).kind(), ErrorKind::Cancelled);
    door->open();
    EXPECT_EQ(first["a"], "a");
    EXPECT_TRUE(eventually([&] { return backend->cancelled() == 1; }));
    EXPECT_EQ(backend->calls().size(), 2) << "y was never asked for";
  });
}

TEST(Cancel, AFinishedRunKeepsItsValuesWhenItGoes) {
  std::optional<Var> kept;
  {
    auto r = run_with({.backend = scripted({"x"})}, [](State& s) { s += gen("x"); });
    kept = r["x"];
  }
  EXPECT_EQ(*kept, "x");
}

TEST(Cancel, TheStopTokenWakesABodyThatReads) {
  within_patience([] {
    auto door = std::make_shared<Door>();
    std::stop_source stop;
    std::jthread later([&] {
      std::this_thread::sleep_for(20ms);
      stop.request_stop();
    });
    const Error error = error_of([&] {
      run_with({.backend = behind(door, "x"), .stop = stop.get_token()}, [](State& s) {
        s += gen("x");
        s["x"].str();
      });
    });
    EXPECT_EQ(error.kind(), ErrorKind::Cancelled);
    door->open();
  });
}

TEST(Cancel, AStreamThatIsDroppedEndsItsThread) {
  within_patience([] {
    auto backend = scripted({"x"});
    backend->set_latency(20ms);
    std::atomic<bool> ended{false};
    {
      auto live = stream_with({.backend = backend}, [&](State& s) {
        struct OnExit {
          std::atomic<bool>& flag;
          ~OnExit() { flag = true; }
        } on_exit{ended};
        while (true) {
          s += gen("x");
          s["x"].str();
        }
      });
      live["x"].wait_for(kPatience);
    }
    EXPECT_TRUE(ended);
  });
}

TEST(Cancel, RunsThatABodyStartsAreCancelledWithIt) {
  within_patience([] {
    auto door = std::make_shared<Door>();
    auto backend = behind(door, "late");
    const auto inner = [](State& s, int) {
      s += gen("x");
      s["x"].str();
    };
    const std::vector<std::function<void(State&)>> bodies = {
        [&](State&) { run_with({.backend = backend}, inner, 0); },
        [&](State&) { stream_with({.backend = backend}, inner, 0).sync(); },
        [&](State&) {
          auto runs = run_batch(inner, std::vector<int>{1, 2}, {.run = {.backend = backend}});
          throw Error(*runs[1].error());
        }};
    for (const auto& body : bodies) {
      const size_t before = backend->calls().size();
      auto live = stream_with({.backend = backend}, body);
      EXPECT_TRUE(eventually([&] { return backend->calls().size() > before; }));
      live.cancel();
      EXPECT_EQ(error_of([&] { live.sync(); }).kind(), ErrorKind::Cancelled);
    }
    door->open();
  });
}

TEST(Cancel, TheBackendMayGoWithTheLastCall) {
  within_patience([] {
    auto backend = scripted({"x"});
    backend->set_latency(5ms);
    {
      run_with({.backend = std::move(backend)}, [](State& s) { s += gen("x"); });
    }
    std::this_thread::sleep_for(20ms);  // its last owner is its own thread
  });
}

// ── Streams ──────────────────────────────────────────────────────────────────────────────────────────────────────────

TEST(Stream, PiecesJoinToTheWholeText) {
  within_patience([] {
    auto backend = scripted({"héllo wörld 😀 done"});
    backend->set_latency(1ms);
    backend->set_piece_size(1);  // also in the middle of characters
    auto live = stream_with(
        {.backend = backend}, [](State& s, const std::string& q) { s += "Q: " + q + "\nA: " + gen("a") + "."; },
        "why?");
    std::string all, answer;
    for (std::string_view piece : live.text_iter("a")) {
      EXPECT_TRUE((static_cast<unsigned char>(piece[0]) & 0xC0) != 0x80) << "a piece begins inside of a character";
      answer += piece;
    }
    for (std::string_view piece : live.text_iter()) all += piece;
    EXPECT_EQ(answer, "héllo wörld 😀 done");
    EXPECT_EQ(all, "Q: why?\nA: héllo wörld 😀 done.");
    EXPECT_EQ(all, live.text());
  });
}

TEST(Stream, WhatARunSaysOfItsStateWaitsForTheBody) {
  within_patience([] {
    constexpr Key<int> number{"n"};
    const auto start = [] {
      return stream_with({.backend = scripted({"7"})}, [](State& s) {
        std::this_thread::sleep_for(20ms);  // what does not wait comes before all that follows
        s += user("how many?") + gen("n");
      });
    };
    EXPECT_EQ(start().text(), "USER:how many?\n7");
    EXPECT_EQ(start().messages().size(), 1);
    EXPECT_EQ(start().list(number), std::vector<int>{7});
    EXPECT_EQ(start().list("n"), std::vector<std::string>{"7"});
    EXPECT_EQ(*start().try_get(number), 7);
    EXPECT_EQ(*start().try_get("n"), "7");
    EXPECT_EQ(start().variables().size(), 1);
    EXPECT_TRUE(start().contains("n"));
    EXPECT_FALSE(start().contains("nobody"));
    EXPECT_EQ(start().try_get("nobody").error().kind(), ErrorKind::NotFound);
  });
}

TEST(Stream, ASplitEmojiComesWhole) {
  within_patience([] {
    // Sends a piece when the one before has been read, and ends when there is no more.
    struct Stepwise : ScriptedBackend {
      Stepwise() : ScriptedBackend(std::vector<std::string>{"unused"}) {}
      void generate(GenerateCall, GenerateSink sink) override {
        sender = std::jthread([this, sink] {
          const std::string text = "a😀b";
          for (size_t i = 0; i < text.size(); i += 2) {
            sink.on_text(std::string_view(text).substr(i, 2));
            if (i == 0 || i == 4) read.acquire();
          }
          sink.on_done({{.texts = {text}}, {}});
        });
      }
      std::counting_semaphore<> read{0};
      std::jthread sender;
    };
    auto backend = std::make_shared<Stepwise>();
    auto live = stream_with({.backend = backend}, [](State& s) { s += gen("x"); });
    std::vector<std::string> pieces;
    for (std::string_view piece : live.text_iter("x")) {
      pieces.emplace_back(piece);
      backend->read.release();
    }
    EXPECT_EQ(pieces, (std::vector<std::string>{"a", "😀b"}));
    live.sync();             // the thread is there
    backend->sender.join();  // it has a hold of the backend, which cannot end there
  });
}

TEST(Stream, ManyReadersEachSeeAll) {
  within_patience([] {
    auto backend = scripted({std::string(1000, 'x')});
    backend->set_latency(1ms);
    backend->set_piece_size(7);
    auto live = stream_with({.backend = backend}, [](State& s) { s += gen("x"); });
    std::atomic<int> right{0};
    {
      std::vector<std::jthread> readers;
      for (int i = 0; i < 8; ++i) {
        readers.emplace_back([&] {
          std::string text;
          for (std::string_view piece : live.text_iter("x")) text += piece;
          if (text == std::string(1000, 'x')) ++right;
        });
      }
    }
    EXPECT_EQ(right, 8);
  });
}

TEST(Stream, AnUnknownNameEndsWithoutPiecesWhenTheProgramEnds) {
  within_patience([] {
    auto live = stream_with({.backend = scripted({"x"})}, [](State& s) { s += gen("x"); });
    for (std::string_view piece : live.text_iter("nobody")) FAIL() << piece;
  });
}

TEST(Stream, ABodyThatReadsItsOwnTextsComesToTheirEnd) {
  within_patience([] {
    auto backend = scripted({"x"});
    backend->set_latency(1ms);
    stream_with({.backend = backend}, [](State& s) {
      s += "P";
      auto forks = s.fork(2);
      forks += gen("x");
      std::string text;
      for (std::string_view piece : forks[0].text_iter()) text += piece;
      EXPECT_EQ(text, "Px");
      for (std::string_view piece : s.text_iter("nobody")) FAIL() << piece;
      run_with({.backend = s.backend()}, [&](State&) {
        for (std::string_view piece : s.text_iter()) text += piece;
      });
      EXPECT_EQ(text, "PxP");
    }).sync();
  });
}

TEST(Stream, WhatTheBodyThrowsEndsTheIterators) {
  within_patience([] {
    auto live = stream_with({.backend = scripted({"x"})}, [](State& s) {
      s += "some text";
      s.sync();
      throw std::runtime_error("my fault");
    });
    std::string text;
    const Error error = error_of([&] {
      for (std::string_view piece : live.text_iter()) text += piece;
    });
    EXPECT_EQ(text, "some text");
    EXPECT_TRUE(contains(error.what(), "my fault"));
    EXPECT_EQ(error_of([&] {
                for (std::string_view piece : live.text_iter("never")) text += piece;
              }).kind(),
              ErrorKind::Internal);
    EXPECT_THROW(live.sync(), std::runtime_error);  // the original
    EXPECT_TRUE(contains(live.error()->what(), "my fault"));
  });
}

TEST(Stream, ThoughtsAreTakenApartWhileTheyCome) {
  within_patience([] {
    auto backend = scripted({"<think>let me see</think>\n\nForty-two."});
    backend->set_piece_size(1);
    auto live = stream_with({.backend = backend}, [](State& s) { s += separate_reasoning(gen("a"), "qwen3") + "!"; });
    std::string answer, all;
    for (std::string_view piece : live.text_iter("a")) answer += piece;
    for (std::string_view piece : live.text_iter()) all += piece;
    EXPECT_EQ(answer, "Forty-two.");
    EXPECT_EQ(all, "Forty-two.!");
    EXPECT_EQ(live["a"].reasoning(), "let me see");
  });
}

TEST(Stream, ArgumentsAreCopied) {
  within_patience([] {
    auto door = std::make_shared<Door>();
    auto start = [&] {
      std::string text = "a text that is longer than a small string";
      std::vector<int> numbers = {1, 2, 3};
      return stream_with(
          {.backend = scripted({"x"})},
          [door](State& s, const std::string& t, const std::vector<int>& n) {
            door->wait();
            s += t + cat(n[2]);
            return n.size();
          },
          std::string_view(text), std::span<int>(numbers));
    };
    auto live = start();
    door->open();
    EXPECT_EQ(live.value(), 3);
    EXPECT_EQ(live.text(), "a text that is longer than a small string3");
  });
}

// ── Batches ──────────────────────────────────────────────────────────────────────────────────────────────────────────

TEST(Batch, RowsComeInTheirOrderAndTuplesAreSpread) {
  within_patience([] {
    auto backend =
        std::make_shared<ScriptedBackend>([](const GenerateCall& call) { return "<" + call.prompt.text + ">"; });
    backend->set_latency(1ms);
    const BatchOptions options{.num_threads = 4, .run = {.backend = backend}};
    const std::vector<std::string> rows = {"a", "b", "c", "d", "e", "f"};
    auto runs = run_batch([](State& s, const std::string& q) { s += q + gen("x"); }, rows, options);
    ASSERT_EQ(runs.size(), rows.size());
    for (size_t i = 0; i < rows.size(); ++i) EXPECT_EQ(runs[i]["x"], "<" + rows[i] + ">");

    const std::vector<std::tuple<std::string, int>> pairs = {{"p", 1}, {"q", 2}};
    auto sums = run_batch(
        [](State& s, const std::string& q, int n) {
          s += q;
          return n * 10;
        },
        pairs, options);
    EXPECT_EQ(sums[1].value(), 20);
    EXPECT_EQ(sums[1].text(), "q");
    EXPECT_TRUE(run_batch([](State&, int) {}, std::vector<int>{}, options).empty());
  });
}

TEST(Batch, AFailedRowKeepsItsErrorAndLeavesTheOthersAlone) {
  within_patience([] {
    auto backend = std::make_shared<ScriptedBackend>([](const GenerateCall& call) -> std::string {
      if (contains(call.prompt.text, "3")) throw Error(ErrorKind::Server, "server answered 500", 500);
      return "ok";
    });
    std::vector<int> rows = {0, 1, 2, 3, 4, 5};
    auto runs = run_batch(
        [](State& s, int i) {
          s += cat(i) + gen("x");
          if (i == 4) throw std::runtime_error("row four");
        },
        rows, {.num_threads = 3, .run = {.backend = backend}});
    for (int i : rows) {
      const Error* error = runs[static_cast<size_t>(i)].error();
      EXPECT_EQ(error != nullptr, i == 3 || i == 4) << i;
      if (i == 3) {
        EXPECT_EQ(error->status(), 500);
      }
      if (i == 4) {
        EXPECT_TRUE(contains(error->what(), "row four"));
      }
    }
  });
}

TEST(Batch, ACallbackThatThrowsEndsTheBatch) {
  within_patience([] {
    std::atomic<int> begun{0};
    std::vector<int> rows(1000);
    EXPECT_THROW(run_batch([&](State&, int) { ++begun; }, rows, {.num_threads = 2, .run = {.backend = scripted({"x"})}},
                           [](size_t, auto&&) { throw std::out_of_range("enough"); }),
                 std::out_of_range);
    EXPECT_LE(begun, 4);  // a thread may have been past the look at the next row, and one row further
  });
}

TEST(Batch, AProgramWithOptionsGoesWhereverABodyDoes) {
  within_patience([] {
    auto backend = scripted({"x"});
    auto p = program([](State& s, int i) { s += cat("row ", i) + gen("x"); },
                     {.backend = scripted({"not this"}), .gen = {.max_tokens = 5, .temperature = 0.5}});
    const RunOptions call{.backend = backend, .gen = {.temperature = 0}};
    const std::vector<int> rows = {1, 2};
    int seen = 0;
    EXPECT_EQ(run_with(call, p, 1)["x"], "x");
    EXPECT_EQ(stream_with(call, p, 1)["x"].str(), "x");
    EXPECT_EQ(run_batch(p, rows, {.run = call})[1]["x"], "x");
    run_batch(p, rows, {.run = call}, [&](size_t, auto&& r) { seen += r["x"] == "x" ? 1 : 0; });
    EXPECT_EQ(seen, 2);
    ASSERT_EQ(backend->calls().size(), 6);
    for (const GenerateCall& c : backend->calls()) {
      EXPECT_EQ(c.options.temperature, 0);
      EXPECT_EQ(c.options.max_tokens, 5);
    }
    EXPECT_EQ(trace(p, 3).at(0).options.max_tokens, 5);
    EXPECT_EQ(trace_with({.gen = {.max_tokens = 7}}, p, 3).at(0).options.max_tokens, 7);
    EXPECT_EQ(run(p, 1)["x"], "not this");
    EXPECT_EQ(stream(p, 1)["x"].str(), "not this");
    EXPECT_EQ(run_batch(p, rows)[0]["x"], "not this");
  });
}

TEST(Batch, ACallbackGetsEachRowOnce) {
  within_patience([] {
    std::vector<int> rows(100);
    std::vector<int> seen(100, 0);
    auto backend = scripted({"x"});
    backend->set_latency(100us);
    run_batch([](State& s, int) { s += gen("x"); }, rows, {.num_threads = 16, .run = {.backend = backend}},
              [&](size_t i, auto&& r) { seen[i] += r["x"] == "x" ? 1 : 100; });
    EXPECT_EQ(seen, std::vector<int>(100, 1));
  });
}

TEST(Batch, ThePrefixOfTheFirstTwoRowsIsCommittedOnceBeforeAnyCall) {
  within_patience([] {
    const std::string shots(100, 'e');
    auto backend = scripted({"x"});
    backend->set_latency(2ms);
    std::vector<int> rows = {0, 1, 2, 3, 4, 5, 6, 7};
    auto body = [&](State& s, int i) { s += shots + cat(" row ", i) + gen("x"); };
    run_batch(body, rows, {.num_threads = 8, .run = {.backend = backend}});
    EXPECT_EQ(backend->committed(), std::vector<std::string>{shots + " row "});
    EXPECT_EQ(backend->calls().size(), 8);

    auto other = scripted({"x"});
    run_batch(body, rows, {.num_threads = 8, .precache = false, .run = {.backend = other}});
    EXPECT_TRUE(other->committed().empty());
    auto brief = scripted({"x"});
    run_batch([](State& s, int i) { s += cat("row ", i) + gen("x"); }, rows,
              {.num_threads = 8, .run = {.backend = brief}});
    EXPECT_TRUE(brief->committed().empty());  // not worth a call
  });
}

TEST(Batch, RowsWithoutACallOpenTheGate) {
  within_patience([] {
    auto backend = scripted({"x"});
    std::vector<int> rows = {0, 1, 2, 3};
    auto runs = run_batch(
        [](State& s, int i) {
          if (i == 0) throw std::runtime_error("before any call");
          if (i > 1) s += gen("x");
        },
        rows, {.num_threads = 4, .run = {.backend = backend}});
    EXPECT_EQ(runs[3]["x"], "x");
    EXPECT_EQ(runs[1].error(), nullptr);
  });
}

TEST(Batch, OneThreadIsEnough) {
  within_patience([] {
    auto runs = run_batch([](State& s, int i) { s += std::string(100, 'p') + cat(i) + gen("x"); },
                          std::vector<int>{1, 2, 3}, {.num_threads = 1, .run = {.backend = scripted({"x"})}});
    EXPECT_EQ(runs[2]["x"], "x");
  });
}

// The stress of the whole: branches, choices, references and streams in 1,000 programs on 64 threads, on a backend
// that answers from its own thread. Run under ThreadSanitizer by ./check tsan.
TEST(Batch, AThousandProgramsOnSixtyFourThreads) {
  within_patience([] {
    auto backend = std::make_shared<ScriptedBackend>(
        [](const GenerateCall& call) { return cat("[", call.prompt.text.size(), "]"); });
    backend->set_latency(50us);
    std::vector<int> rows(1000);
    for (int i = 0; i < 1000; ++i) rows[static_cast<size_t>(i)] = i;
    auto runs = run_batch(
        [&](State& s, int i) {
          s += cat("program ", i, ": ") + gen("first");
          auto forks = s.fork(3);
          forks += [](int j) { return cat("branch ", j) + gen("idea"); };
          s += " best: " + forks[1]["idea"] + select("choice", {"a", "b"});
          forks.join();
          {
            auto t = s.copy();
            *t += gen("check");
          }
          auto nested = run_with({.backend = s.backend()}, [](State& t) { t += "nested" + gen("n"); });
          nested.sync();  // a run that goes unfinished is cancelled
          s += nested["n"] + gen("last");
          if (i % 10 == 0) throw std::runtime_error("this row fails");
          if (i % 10 == 1) s += gen("unread");
          return s["idea"].list().size();
        },
        rows, {.num_threads = 64, .run = {.backend = backend}});
    ASSERT_EQ(runs.size(), 1000);
    for (size_t i = 0; i < runs.size(); ++i) {
      EXPECT_EQ(runs[i].error() != nullptr, i % 10 == 0);
      if (i % 10 == 0) continue;
      EXPECT_EQ(runs[i].value(), 3);
      const std::string head = cat("program ", i, ": ");
      EXPECT_EQ(runs[i]["first"], cat("[", head.size(), "]"));
      EXPECT_TRUE(runs[i].text().starts_with(head + runs[i]["first"].str() + " best: " + runs[i]["idea"][1] + "a[6]"));
    }
  });
}

TEST(Batch, StreamsUnderCancellation) {
  within_patience([] {
    auto backend = scripted({std::string(200, 'x')});
    backend->set_latency(200us);
    std::vector<std::jthread> threads;
    for (int t = 0; t < 8; ++t) {
      threads.emplace_back([&, t] {
        for (int i = 0; i < 20; ++i) {
          auto live = stream_with({.backend = backend}, [](State& s) {
            for (int j = 0; j < 5; ++j) s += gen("x");
            s["x"].str();
          });
          if ((t + i) % 3 == 0) live.cancel();
          std::string text;
          try {
            for (std::string_view piece : live.text_iter("x")) text += piece;
          } catch (const Error& error) {
            EXPECT_EQ(error.kind(), ErrorKind::Cancelled);
          }
          if ((t + i) % 3 == 1) continue;  // dropped while it runs
          try {
            live.sync();
          } catch (const Error& error) {
            EXPECT_EQ(error.kind(), ErrorKind::Cancelled);
          }
        }
      });
    }
  });
}

// ── Traces ───────────────────────────────────────────────────────────────────────────────────────────────────────────

TEST(Trace, ListsTheCallsOfAProgramWithItsRealArguments) {
  auto calls = trace(
      [](State& s, const std::string& plan) {
        s += "Plan: " + plan + "\n";
        auto sides = s.fork(2);
        sides += [](int i) { return cat("side ", i, ": ") + gen("arg", {.max_tokens = 9, .stop = "\n"}); };
        s += sides[0]["arg"] + select("verdict", {"good", "bad"});
      },
      "tea");
  ASSERT_EQ(calls.size(), 3);
  EXPECT_EQ(calls[0].name, "arg");
  EXPECT_EQ(calls[0].state, 1);
  EXPECT_EQ(calls[0].prompt, "Plan: tea\nside 0: ");
  EXPECT_EQ(calls[2].prompt, "Plan: tea\n{arg}");
  EXPECT_EQ(calls[2].choices, (std::vector<std::string>{"good", "bad"}));
  const std::string text = explain(calls);
  EXPECT_TRUE(contains(
      text,
      "1. state 1: gen(\"arg\") after 18 bytes, \"Plan: tea\\nside 0: \", max_tokens 9, temperature 1, stop \"\\n\""))
      << text;
  EXPECT_TRUE(contains(text, "select(\"verdict\")")) << text;
}

}  // namespace
}  // namespace sgl
