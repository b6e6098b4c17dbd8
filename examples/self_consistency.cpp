// Self-consistency (Wang et al. 2022): several ways of reasoning are sampled, and the answers vote.

#include <algorithm>
#include <map>
#include <string>

#include "backend.h"

using namespace sgl;

namespace {

constexpr int kSamples = 5;

std::string vote(State& s, const std::string& question) {
  s += "Q: Tom has 3 boxes of 4 pens. How many pens has he?\nA: 3 times 4 is 12. The answer is 12.\n";
  s += "Q: " + question + "\nA:";
  auto samples = s.fork(kSamples);
  samples += [](int i) {
    return gen("reasoning", {.max_tokens = 40, .temperature = 0.8, .stop = {"\n", "The answer is"}, .seed = i}) +
           " The answer is" + gen("answer", {.max_tokens = 4, .temperature = 0, .stop = {".", "\n"}});
  };
  samples.join();
  std::map<std::string, int> votes;
  for (const std::string& answer : s["answer"].list()) ++votes[answer];
  for (const auto& [answer, count] : votes) std::cout << count << " vote(s) for" << answer << "\n";
  return std::max_element(votes.begin(), votes.end(), [](const auto& a, const auto& b) { return a.second < b.second; })
      ->first;
}

void example() {
  std::cout << "Elected:" << run(vote, "A farmer has 5 cows and buys 3 more. How many has he?").value() << "\n";
}

}  // namespace

int main(int argc, char** argv) { return run_example(argc, argv, example); }
