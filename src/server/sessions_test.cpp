// Sessions by themselves, and through /open_session, /generate and /close_session.

#include "server/sessions.h"

#include <limits>
#include <string>
#include <vector>

#include <gtest/gtest.h>

#include "server/test_service.h"

namespace sgl {
namespace {

using Ids = std::vector<int32_t>;

constexpr int32_t kBos = 256;

// Asks and answers at once; returns the whole prompt.
Ids ask(Sessions& sessions, const SessionTurn& turn, const std::string& rid, Ids own, const Ids& output) {
  const Ids prompt = sessions.prompt(turn, std::move(own), kBos);
  sessions.keep(turn, rid, prompt, output);
  return prompt;
}

std::string refusal(Sessions& sessions, const SessionTurn& turn) {
  try {
    sessions.prompt(turn, {1}, kBos);
  } catch (const Error& e) {
    return e.what();
  }
  return "nothing";
}

TEST(Sessions, ATurnStandsBehindThePromptAndTheOutputOfTheOneItNames) {
  Sessions s;
  const std::string id = s.open("");
  EXPECT_EQ(ask(s, {.session = id}, "a", {kBos, 1, 2}, {3}), (Ids{kBos, 1, 2}));
  EXPECT_EQ(ask(s, {.session = id, .behind = "a"}, "b", {kBos, 4}, {5, 6}), (Ids{kBos, 1, 2, 3, 4}))
      << "a text begins once";
  EXPECT_EQ(ask(s, {.session = id, .behind = "b"}, "c", {7}, {}), (Ids{kBos, 1, 2, 3, 4, 5, 6, 7}));
  EXPECT_EQ(ask(s, {.session = id, .behind = "a"}, "d", {8}, {}), (Ids{kBos, 1, 2, 3, 8})) << "another branch";
  EXPECT_EQ(ask(s, {.session = id}, "e", {kBos, 9}, {}), (Ids{kBos, 9})) << "behind none";
}

TEST(Sessions, WhatStandsBeforeCanBeCut) {
  Sessions s;
  s.open("s");
  ask(s, {.session = "s"}, "a", {1, 2, 3}, {4, 5});
  const auto prompt = [&](int64_t offset, bool drop) {
    return s.prompt({.session = "s", .behind = "a", .offset = offset, .drop_previous_output = drop}, {9}, kBos);
  };
  EXPECT_EQ(prompt(0, true), (Ids{1, 2, 3, 9}));
  EXPECT_EQ(prompt(2, false), (Ids{1, 2, 9}));
  EXPECT_EQ(prompt(-1, false), (Ids{1, 2, 3, 4, 9}));
  EXPECT_EQ(prompt(-1, true), (Ids{1, 2, 9}));
  EXPECT_EQ(prompt(100, false), (Ids{1, 2, 3, 4, 5, 9}));
  EXPECT_EQ(prompt(std::numeric_limits<int64_t>::min(), false), Ids{9});
  EXPECT_EQ(s.prompt({.session = "s", .behind = "a", .offset = -5}, {kBos, 9}, kBos), (Ids{kBos, 9}))
      << "nothing stands before it";
}

TEST(Sessions, ReplacingForgetsWhatWentOnThere) {
  Sessions s;
  s.open("s");
  ask(s, {.session = "s"}, "a", {1}, {});
  ask(s, {.session = "s", .behind = "a"}, "b", {2}, {});
  ask(s, {.session = "s", .behind = "b"}, "c", {3}, {});
  ask(s, {.session = "s"}, "other", {4}, {});
  const SessionTurn replacing = {.session = "s", .behind = "a", .replace = true};
  EXPECT_EQ(s.prompt(replacing, {5}, kBos), (Ids{1, 5}));
  EXPECT_EQ(refusal(s, {.session = "s", .behind = "c"}), "nothing") << "a turn that is refused later replaces nothing";
  EXPECT_EQ(ask(s, replacing, "d", {5}, {}), (Ids{1, 5}));
  for (const char* gone : {"b", "c"}) {
    EXPECT_EQ(refusal(s, {.session = "s", .behind = gone}),
              std::string("session \"s\" has no request \"") + gone + "\" that has ended");
  }
  EXPECT_EQ(refusal(s, {.session = "s", .behind = "other"}), "nothing");
  ask(s, {.session = "s", .replace = true}, "e", {6}, {});
  for (const char* gone : {"a", "d", "other"})
    EXPECT_NE(refusal(s, {.session = "s", .behind = gone}), "nothing") << gone;
  EXPECT_EQ(refusal(s, {.session = "s", .behind = "e"}), "nothing");
}

TEST(Sessions, IdsAreShort) {
  Sessions s;
  s.open(std::string(kLongestId, 'x'));
  EXPECT_THROW(s.open(std::string(kLongestId + 1, 'x')), Error);
}

TEST(Sessions, BeyondTheMostTokensOrSessionsTheOneUsedLongestAgoIsClosed) {
  Sessions s(10, 3);
  for (const char* id : {"a", "b", "c"}) s.open(id);
  ask(s, {.session = "b"}, "1", {1, 2, 3}, {4});
  ask(s, {.session = "a"}, "1", {1, 2, 3}, {4});
  s.open("d");
  EXPECT_EQ(refusal(s, {.session = "c"}), "session \"c\" is not open; /open_session opens one");
  ask(s, {.session = "d"}, "1", {1, 2}, {3});
  EXPECT_EQ(refusal(s, {.session = "a", .behind = "1"}), "nothing");
  EXPECT_NE(refusal(s, {.session = "b"}), "nothing") << "11 tokens";
  ask(s, {.session = "a", .replace = true}, "2", {1, 2, 3, 4, 5, 6}, {7});
  EXPECT_EQ(refusal(s, {.session = "d", .behind = "1"}), "nothing") << "what is forgotten takes no room";
  s.close("a");
  ask(s, {.session = "d"}, "2", {1, 2, 3, 4, 5, 6}, {7});
  EXPECT_EQ(refusal(s, {.session = "d", .behind = "1"}), "nothing") << "nor what is closed";
}

// ── Over HTTP ────────────────────────────────────────────────────────────────────────────────────────────────────────

TEST(SessionRoutes, ATurnSendsOnlyWhatIsNew) {
  TestService t(ServerOptions{}, "ok");
  const std::string id = t.ok("/open_session", R"({"capacity_of_str_len":1000})");
  EXPECT_EQ(id.size(), 32U);
  const auto turn = [&](const std::string& text, const std::string& more) {
    return t.ok("/generate", R"({"text":")" + text + R"(","return_prompt_token_ids":true,"session_params":{"id":")" +
                                 id + "\"" + more + "}}");
  };
  const Json first = turn("ab", "");
  EXPECT_EQ(first["prompt_token_ids"], Json::parse("[256,97,98]"));
  EXPECT_EQ(first["output_ids"], Json::parse("[111,107,257]"));
  const std::string rid = first["meta_info"]["id"];
  const Json second = turn("c", R"(,"rid":")" + rid + "\"");
  EXPECT_EQ(second["prompt_token_ids"], Json::parse("[256,97,98,111,107,257,99]"));
  EXPECT_EQ(second["meta_info"]["prompt_tokens"], 7);
  EXPECT_EQ(t.post("/close_session", R"({"session_id":")" + id + "\"}").body, "");
  EXPECT_NE(t.refusal("/generate", R"({"text":"x","session_params":{"id":")" + id + "\"}}").find("is not open"),
            std::string::npos);
}

TEST(SessionRoutes, AStreamIsKeptWholeHoweverItsEventsAreCut) {
  ServerOptions options;
  options.incremental_streaming_output = true;
  TestService t(options, "ok");
  t.ok("/open_session", R"({"session_id":"s"})");
  t.post("/generate", R"({"text":"ab","stream":true,"rid":"a","session_params":{"id":"s"}})");
  EXPECT_EQ(
      t.ok("/generate",
           R"({"text":"c","return_prompt_token_ids":true,"session_params":{"id":"s","rid":"a"}})")["prompt_token_ids"],
      Json::parse("[256,97,98,111,107,257,99]"));
}

TEST(SessionRoutes, WhatCannotBeIsRefusedByName) {
  TestService t;
  EXPECT_EQ(t.ok("/open_session", R"({"session_id":"s"})"), "s");
  EXPECT_EQ(t.refusal("/open_session", R"({"session_id":"s"})"), "session \"s\" is open already");
  EXPECT_NE(t.refusal("/open_session", R"({"streaming":true})").find("streaming"), std::string::npos);
  EXPECT_EQ(t.refusal("/close_session", R"({"session_id":"other"})"),
            "session \"other\" is not open; /open_session opens one");
  EXPECT_EQ(t.refusal("/close_session", "{}"), "session_id is required: the id of an open session");
  EXPECT_EQ(t.refusal("/generate", R"({"text":"a","session_params":{"rid":"x"}})"),
            "session_params.id is required: the id of an open session");
  EXPECT_EQ(t.refusal("/generate", R"({"text":["a","b"],"session_params":{"id":"s"}})"),
            "session_params goes with one prompt and n = 1: a turn of a session is one request");
  EXPECT_EQ(t.refusal("/generate", R"({"text":"a","session_params":{"id":"s","rid":"x"}})"),
            "session \"s\" has no request \"x\" that has ended");
}

TEST(SessionRoutes, ARequestThatFailsIsNotKept) {
  TestService t;
  t.ok("/open_session", R"({"session_id":"s"})");
  t.engine->fail_with(500, "broken");
  t.post("/generate", R"({"text":"a","rid":"a","session_params":{"id":"s"}})");
  EXPECT_EQ(t.refusal("/generate", R"({"text":"b","session_params":{"id":"s","rid":"a"}})"),
            "session \"s\" has no request \"a\" that has ended");
}

}  // namespace
}  // namespace sgl
