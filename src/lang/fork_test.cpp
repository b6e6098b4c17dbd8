// Branches: fork, join, join_text, copy.

#include "lang/test_programs.h"

namespace sgl {
namespace {

using Texts = std::vector<std::string>;

std::shared_ptr<ScriptedBackend> echo() {
  return std::make_shared<ScriptedBackend>([](const GenerateCall& call) { return "<" + call.prompt.text + ">"; });
}

TEST(Fork, ChildrenBeginWithTheParentsTextAndVariables) {
  auto r = run_with({.backend = echo()}, [](State& s) {
    s += "P";
    s.set("v", "value");
    auto forks = s.fork(2);
    forks += [](int i) { return cat(i) + gen("x"); };
    EXPECT_EQ(forks[0].text(), "P0<P0>");
    EXPECT_EQ(forks[1].text(), "P1<P1>");
    EXPECT_EQ(forks[1]["v"], "value");
    forks.join();
    EXPECT_EQ(s["x"].list(), (Texts{"<P0>", "<P1>"}));
  });
  EXPECT_EQ(r.text(), "P");
}

TEST(Fork, JoinGathersOnlyWhatTheParentLacksAndMissingOnesAreErrorsWhenRead) {
  auto r = run_with({.backend = echo()}, [](State& s) {
    s.set("old", "parent's");
    auto forks = s.fork(3);
    forks[0] += gen("x");
    forks[2] += gen("x");
    forks[1].set("old", "child's");
    forks.join();
    EXPECT_EQ(s["old"], "parent's");
    EXPECT_EQ(s["x"][0], "<>");
    EXPECT_EQ(s["x"][2], "<>");
    const Error error = error_of([&] { s["x"][1]; });
    EXPECT_EQ(error.kind(), ErrorKind::NotFound);
    EXPECT_TRUE(contains(error.what(), "branch 1"));
    EXPECT_EQ(error_of([&] { s["x"].list(); }).kind(), ErrorKind::NotFound);
  });
}

TEST(Fork, AGatheredListIsNoText) {
  within_patience([] {
    run_with({.backend = echo()}, [](State& s) {
      auto forks = s.fork(2);
      forks += gen("x");
      forks.join();
      EXPECT_TRUE(s["x"].is_list());
      EXPECT_EQ(error_of([&] { s["x"].str(); }).kind(), ErrorKind::WrongType);
      EXPECT_EQ(error_of([&] { s["x"].meta(); }).kind(), ErrorKind::WrongType);
      EXPECT_EQ(error_of([&] {
                  for (std::string_view piece : s.text_iter("x")) FAIL() << piece;
                }).kind(),
                ErrorKind::WrongType);
      EXPECT_EQ(error_of([&] { s["x"][2]; }).kind(), ErrorKind::InvalidArgument);
      s += s["x"];
      EXPECT_EQ(error_of([&] { s.sync(); }).kind(), ErrorKind::WrongType);
    });
  });
}

TEST(Fork, AnExpressionForAllOrOneForEach) {
  run_with({.backend = echo()}, [](State& s) {
    auto forks = s.fork(2);
    forks += "all ";
    forks += std::vector<Expr>{"one", "two"};
    EXPECT_EQ(forks[0].text(), "all one");
    EXPECT_EQ(forks[1].text(), "all two");
    EXPECT_EQ(error_of([&] { forks += std::vector<Expr>{"one"}; }).kind(), ErrorKind::InvalidArgument);
    int seen = 0;
    for (State& child : forks) seen += child.contains("x") ? 0 : 1;
    EXPECT_EQ(seen, 2);
  });
}

TEST(Fork, JoinTextAppendsWhatEachBranchHasAdded) {
  auto r = run_with({.backend = echo()}, [](State& s) {
    s += "P";
    auto forks = s.fork(2);
    forks += [](int i) { return cat("[", i, "]"); };
    forks.join_text();
    s += "!";
  });
  EXPECT_EQ(r.text(), "P[0][1]!");
}

TEST(Fork, CopyGivesPlainValuesAndLeavesTheText) {
  auto r = run_with({.backend = echo()}, [](State& s) {
    s += "P";
    {
      auto t = s.copy();
      *t += "tail" + gen("check");
      EXPECT_EQ(t->text(), "Ptail<Ptail>");
    }
    EXPECT_EQ(s["check"], "<Ptail>");
  });
  EXPECT_EQ(r.text(), "P");
}

TEST(Fork, EndingACopyDoesNotWait) {
  within_patience([] {
    auto door = std::make_shared<Door>();
    auto r = run_with({.backend = behind(door, "late")}, [](State& s) {
      auto t = s.copy();
      *t += gen("check");
    });
    EXPECT_FALSE(r["check"].ready());
    door->open();
    EXPECT_EQ(r["check"], "late");
  });
}

TEST(Fork, BranchesRunAtTheSameTime) {
  within_patience([] {
    // No call is answered before all have been made.
    std::shared_ptr<ScriptedBackend> backend;
    backend = std::make_shared<ScriptedBackend>([&](const GenerateCall&) {
      EXPECT_TRUE(eventually([&] { return backend->calls().size() == 16; }));
      return "x";
    });
    backend->set_latency(1us);  // so that the answers come from another thread
    run_with({.backend = backend}, [](State& s) {
      auto forks = s.fork(16);
      forks += gen("x");
      forks.join();
    });
  });
}

TEST(Fork, TheSharedPromptIsCommittedOnceForTwoOrMore) {
  auto backend = echo();
  run_with({.backend = backend}, [](State& s) {
    s.fork(2);
    EXPECT_TRUE(s.text().empty());
    s += "shared";
    s.fork(1);
    s.fork(3);
  });
  EXPECT_EQ(backend->committed(), Texts{"shared"});
}

TEST(Fork, JoinedBranchesTakeNoMoreAppends) {
  run_with({.backend = echo()}, [](State& s) {
    auto forks = s.fork(2);
    forks.join();
    EXPECT_EQ(error_of([&] { forks[0] += "more"; }).kind(), ErrorKind::InvalidArgument);
  });
}

TEST(Fork, AFailedBranchIsThrownAfterTheOthersAreGathered) {
  within_patience([] {
    auto backend = std::make_shared<ScriptedBackend>([](const GenerateCall& call) -> std::string {
      if (call.prompt.text == "1") throw Error(ErrorKind::Server, "server answered 500", 500, "r1");
      return "ok" + call.prompt.text;
    });
    backend->set_latency(1ms);
    run_with({.backend = backend}, [](State& s) {
      auto forks = s.fork(3);
      forks += [](int i) { return cat(i) + gen("x"); };
      const Error error = error_of([&] { forks.join(); });
      EXPECT_EQ(error.status(), 500);
      EXPECT_EQ(s["x"][0], "ok0");
      EXPECT_EQ(s["x"][2], "ok2");
      EXPECT_EQ(error_of([&] { s["x"][1]; }).status(), 500);
      s += "the parent goes on";
      EXPECT_EQ(s.text(), "the parent goes on");
    });
  });
}

TEST(Fork, ATurnThatTheParentOpenedIsOpenInTheChildren) {
  auto backend = echo();
  backend->set_format(ChatFormat::named("chatml"));
  run_with({.backend = backend}, [](State& s) {
    auto turn = s.user();
    auto forks = s.fork(2);
    forks += "hi";
    EXPECT_EQ(forks[0].text(), "<|im_start|>user\nhi");
    EXPECT_EQ(error_of([&] { forks[1] += user("again"); }).kind(), ErrorKind::InvalidArgument);
  });
}

TEST(Fork, NumberMustBePositive) {
  run_with({.backend = echo()},
           [](State& s) { EXPECT_EQ(error_of([&] { s.fork(0); }).kind(), ErrorKind::InvalidArgument); });
}

}  // namespace
}  // namespace sgl
