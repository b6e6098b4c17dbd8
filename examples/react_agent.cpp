// An agent that thinks, acts and observes (ReAct, Yao et al. 2022). Tools are plain C++: the program reads what the
// model wants, does it, and appends what it saw.

#include <map>
#include <string>

#include "backend.h"

using namespace sgl;

namespace {

/// What the agent knows how to look up; an agent in earnest would ask a service.
std::string look_up(const std::string& topic) {
  static const std::map<std::string, std::string> encyclopedia = {
      {"Eiffel Tower", "The Eiffel Tower in Paris was finished in 1889 and is 330 metres high."},
      {"Big Ben", "Big Ben in London was finished in 1859 and is 96 metres high."}};
  for (const auto& [title, text] : encyclopedia) {
    if (topic.find(title) != std::string::npos) return text;
  }
  return "Nothing was found.";
}

enum class Action { Search, Finish };
constexpr Key<Action> kAction{"action"};

std::string agent(State& s, const std::string& question) {
  s +=
      "Answer the question with the help of two actions: Search[topic] and Finish[answer].\n\n"
      "Question: How high is Big Ben?\nThought 1: I need the height of Big Ben.\nAction 1: Search[Big Ben]\n"
      "Observation 1: Big Ben in London was finished in 1859 and is 96 metres high.\nThought 2: It is 96 metres high.\n"
      "Action 2: Finish[96 metres]\n\n";
  s += "Question: " + question + "\n";
  for (int step = 1; step <= 3; ++step) {
    s += cat("Thought ", step, ":") + gen("thought", {.max_tokens = 32, .stop = "\n"}) + cat("\nAction ", step, ": ");
    // The last step has to come to an end.
    if (step < 3)
      s += select(kAction, {{"Search", Action::Search}, {"Finish", Action::Finish}});
    else
      s += select(kAction, {{"Finish", Action::Finish}});
    s += "[" + gen("argument", {.max_tokens = 16, .stop = {"]", "\n"}}) + "]\n";
    if (s[kAction] == Action::Finish) return s["argument"];
    s += cat("Observation ", step, ": ", look_up(s["argument"]), "\n");
  }
  return "";
}

void example() {
  auto s = run(program(agent, {.gen = {.temperature = 0}}), "How high is the Eiffel Tower?");
  const std::string text = s.text();
  std::cout << text.substr(text.rfind("Question:")) << "\nAnswer: " << s.value() << "\n";
}

}  // namespace

int main(int argc, char** argv) { return run_example(argc, argv, example); }
