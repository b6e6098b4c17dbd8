// Tree of thought (Yao et al. 2023): plans are proposed, each is carried out in several ways, the ways are judged, and
// the best is taken. The branches share all that stands above them.

#include <algorithm>
#include <string>
#include <vector>

#include "backend.h"

using namespace sgl;

namespace {

constexpr int kPlans = 2, kWays = 2;
constexpr Key<int> kGrade{"grade"};

struct Leaf {
  std::string solution;
  int grade;
};

std::string solve(State& s, const std::string& question) {
  s += "Question: " + question + "\n";
  auto plans = s.fork(kPlans);
  plans += [](int i) { return cat("Plan ", i + 1, ":") + gen("plan", {.max_tokens = 24, .stop = "\n"}) + "\n"; };

  std::vector<Forks> ways;  // all branches are under way before the first is read
  for (State& plan : plans) {
    ways.push_back(plan.fork(kWays));
    ways.back() +=
        "Solution:" + gen("solution", {.max_tokens = 32, .stop = "\n"}) +
        "\nGrade of this solution, from 1 to 9: " + select(kGrade, {{"1", 1}, {"3", 3}, {"5", 5}, {"7", 7}, {"9", 9}});
  }
  std::vector<Leaf> leaves;
  for (Forks& fork : ways) {
    for (State& way : fork) leaves.push_back({way["solution"], way[kGrade]});
  }
  const Leaf& best =
      *std::max_element(leaves.begin(), leaves.end(), [](const Leaf& a, const Leaf& b) { return a.grade < b.grade; });
  s += "Best solution:" + best.solution + "\nAnswer:" + gen("answer", {.max_tokens = 16, .stop = "\n"});
  return cat("graded ", best.grade, ":", best.solution);
}

void example() {
  auto s = run(program(solve, {.gen = {.temperature = 0.7, .seed = 1}}),
               "A shop has 12 apples and sells 5. How many are left?");
  std::cout << s.value() << "\nAnswer:" << s["answer"] << "\n";
}

}  // namespace

int main(int argc, char** argv) { return run_example(argc, argv, example); }
