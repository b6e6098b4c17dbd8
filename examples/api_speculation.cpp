// Three fields for the price of one call: with api_spec_tokens an assistant turn is asked for as a whole, and the reply
// is matched against the turn's constants. Here the API is scripted and takes 200 ms a call.

#include <chrono>

#include "backend.h"

using namespace sgl;

namespace {

void character(State& s) {
  s += sgl::system("You describe characters in the form Name, Job, Home, each on a line of its own.");
  s += user("Describe a character.");
  s += assistant("Name: " + gen("name", {.stop = "\n"}) + "\nJob: " + gen("job", {.stop = "\n"}) +
                 "\nHome: " + gen("home", {.stop = "\n"}));
}

void character_by_calls(State& s) {
  for (const char* field : {"name", "job", "home"}) {
    s += user(std::string("The ") + field + " of the character?");
    s += assistant(gen(field, {.stop = "\n"}));
  }
}

std::shared_ptr<ScriptedBackend> make_api() {
  auto api = std::make_shared<ScriptedBackend>(
      [](const GenerateCall& call) -> std::string {
        if (call.variable.empty()) return "Name: Ada\nJob: engineer\nHome: London";  // the whole turn
        return call.variable == "name" ? "Ada" : call.variable == "job" ? "engineer" : "London";
      },
      ScriptedBackend::chat());
  api->set_latency(std::chrono::milliseconds(200));
  return api;
}

template <class F>
void show(const char* what, F body, int api_spec_tokens) {
  auto api = make_api();
  const auto start = std::chrono::steady_clock::now();
  auto s = run_with({.backend = api, .api_spec_tokens = api_spec_tokens}, body);
  s.sync();
  const std::chrono::duration<double, std::milli> time = std::chrono::steady_clock::now() - start;
  std::cout << what << ": " << s["name"] << ", " << s["job"] << ", " << s["home"] << " in " << api->calls().size()
            << " call(s), " << static_cast<int>(time.count()) << " ms\n";
}

}  // namespace

int main() {
  show("one call a field", character_by_calls, 0);
  show("speculation", character, 64);
}
