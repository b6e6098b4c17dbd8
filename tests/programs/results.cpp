// Runs a list of small programs on a backend and prints what they give: {"name": {"text": …, "vars": {…}}, …}.
//
//   program_results engine [MODEL]
//   program_results runtime URL [--templates]     each with the chat format that its row names; else with the model's
//   program_results openai URL MODEL              completions
//   program_results openai_chat URL MODEL [--wire]   those that a chat API can run; with those whose requests count
//   program_results formats                       the table of chat formats
//
// reference.py has the same programs for SGLang's own front end, run.py compares.

#include <exception>
#include <functional>
#include <iostream>
#include <map>
#include <string>
#include <vector>

#include <nlohmann/json.hpp>

#include "sgl/program.h"

using namespace sgl;

namespace {

struct Case {
  std::string name;
  std::function<void(State&)> body;
  std::string format = "chatml";  ///< for --templates
  bool native = false;            ///< uses what only sgl and SGLang have
  bool chat = false;              ///< a chat API can run it
  GenOptions options = {};        ///< of the run, besides temperature 0
};

const std::string kShots =
    "Q: What is the capital of France?\nA: Paris\nQ: What is the capital of Italy?\nA: Rome\nQ: What is the capital of "
    "Spain?\nA: Madrid\n";

void nested(State& s, const std::string& topic) {
  s += "One word about " + topic + ":" + gen("word", {.max_tokens = 3});
}

std::vector<Case> cases() {
  return {
      {"plain", [](State& s) { s += "The capital of France is" + gen("city", {.max_tokens = 8}); }},
      {"stop",
       [](State& s) {
         s += kShots + "Q: What is the capital of Japan?\nA:" + gen("a", {.max_tokens = 16, .stop = "\n"});
       }},
      {"stop_list",
       [](State& s) {
         s += "Once upon a time" + gen("a", {.max_tokens = 40, .stop = {".", ","}});
       }},
      {"stop_in_run",
       [](State& s) { s += "The sea is" + gen("a", {.max_tokens = 30}); },
       "chatml",
       false,
       false,
       {.stop = "."}},
      {"max_tokens_in_run", [](State& s) { s += "The sea is" + gen("a"); }, "chatml", false, false, {.max_tokens = 7}},
      {"two_gens", [](State& s) { s += "A: " + gen("a", {.max_tokens = 6}) + "\nB: " + gen("b", {.max_tokens = 6}); }},
      {"same_name", [](State& s) { s += "A: " + gen("a", {.max_tokens = 4}) + "\nB: " + gen("a", {.max_tokens = 6}); }},
      {"unnamed", [](State& s) { s += "Count: 1, 2, 3," + gen({.max_tokens = 6}) + " done"; }},
      {"reference",
       [](State& s) {
         s += "Colour:" + gen("c", {.max_tokens = 3});
         s += "\nAgain:" + s["c"] + gen("d", {.max_tokens = 5});
       }},
      {"unicode", [](State& s) { s += "Übersetze: „Grüße“ 😀 →" + gen("a", {.max_tokens = 8}); }},
      {"penalty",
       [](State& s) {
         s += "la la la" + gen("a", {.max_tokens = 12, .frequency_penalty = 1.5, .presence_penalty = 0.5});
       }},
      {"min_tokens", [](State& s) { s += "Yes." + gen("a", {.max_tokens = 9, .min_tokens = 9}); }, "chatml", true},
      {"ignore_eos", [](State& s) { s += "The end." + gen("a", {.max_tokens = 12, .ignore_eos = true}); }, "chatml",
       true},
      {"regex",
       [](State& s) { s += "The war ended in the year " + gen("y", {.max_tokens = 8, .regex = "19[0-9]{2}"}); },
       "chatml", true},
      {"stop_regex",
       [](State& s) { s += "Once upon a time" + gen("a", {.max_tokens = 40, .stop_regex = "[.,] [a-z]"}); }, "chatml",
       true},
      {"json",
       [](State& s) {
         s += "A wizard as JSON: " + gen("w", {.max_tokens = 64, .json_schema = R"({"type":"object","properties":{
             "house":{"enum":["Gryffindor","Slytherin"]},"alive":{"type":"boolean"}},"required":["house","alive"],
             "additionalProperties":false})"});
       },
       "chatml", true},
      {"stop_token",
       [](State& s) {
         s += "one two three" + gen("a", {.max_tokens = 12, .stop_token_ids = {28, 30}});
       },
       "chatml", true},
      {"capture",
       [](State& s) {
         s += "x =";
         {
           auto scope = s.capture("both");
           s += gen("x", {.max_tokens = 3}) + "; y =" + gen("y", {.max_tokens = 3});
         }
         s += "!";
       }},
      {"fork_same",
       [](State& s) {
         s += "My favourite animal is";
         auto forks = s.fork(2);
         forks += gen("animal", {.max_tokens = 4});
         forks.join();
       }},
      {"fork_each",
       [](State& s) {
         s += "Tips for a healthy life. ";
         auto forks = s.fork(3);
         forks += [](int i) { return cat("Tip ", i + 1, ":") + gen("tip", {.max_tokens = 10, .stop = "\n"}); };
         forks.join();
         for (const std::string& tip : s["tip"].list()) s += "-" + tip + "\n";
         s += "In summary" + gen("summary", {.max_tokens = 12});
       }},
      {"fork_read",
       [](State& s) {
         s += "Plan: walk more.\n";
         auto sides = s.fork(2);
         sides += [](int i) {
           return cat("Argument ", i ? "against" : "for", " it:") + gen("arg", {.max_tokens = 12, .stop = "\n"});
         };
         s += "For:" + sides[0]["arg"] + "\nAgainst:" + sides[1]["arg"] +
              "\nVerdict:" + gen("verdict", {.max_tokens = 8});
       }},
      {"join_text",
       [](State& s) {
         s += "Words:";
         auto forks = s.fork(2);
         forks += [](int i) { return cat(" (", i, ")") + gen("w", {.max_tokens = 3}); };
         forks.join_text();
         s += "." + gen("after", {.max_tokens = 5});
       }},
      {"copy",
       [](State& s) {
         s += "The sky is";
         {
           auto t = s.copy();
           *t += gen("tried", {.max_tokens = 4});
           t->sync();
         }
         s += gen("kept", {.max_tokens = 6});
       }},
      {"branch_on_value",
       [](State& s) {
         s += kShots + "Q: What is the capital of Germany?\nA:" + gen("a", {.max_tokens = 8, .stop = "\n"});
         if (s["a"].str().find("Berlin") != std::string::npos)
           s += "\nRight." + gen("more", {.max_tokens = 6});
         else
           s += "\nWrong." + gen("more", {.max_tokens = 6});
       }},
      {"loop",
       [](State& s) {
         s += "1 2 3";
         for (int i = 0; i < 3; ++i) s += " |" + gen(cat("n", i), {.max_tokens = 4});
       }},
      {"nested",
       [](State& s) {
         auto other = run_with({.backend = s.backend(), .gen = {.temperature = 0}}, nested, "rain");
         s += "Rain is" + other["word"] + " and" + gen("a", {.max_tokens = 5});
         s.sync();
       }},
      {"long_few_shot",
       [](State& s) {
         for (int i = 0; i < 8; ++i) s += kShots;
         s += "Q: What is the capital of Austria?\nA:" + gen("a", {.max_tokens = 8, .stop = "\n"});
       }},
      {"tree",
       [](State& s) {
         s += "Problem: 12 apples, 5 eaten.\n";
         auto plans = s.fork(2);
         plans += [](int i) { return cat("Plan ", i, ":") + gen("plan", {.max_tokens = 10, .stop = "\n"}); };
         for (State& plan : plans) {
           auto steps = plan.fork(2);
           steps += [](int i) { return cat("\nStep ", i, ":") + gen("step", {.max_tokens = 8, .stop = "\n"}); };
           steps.join();
         }
         for (State& plan : plans) s += plan["plan"] + "/" + plan["step"][0] + "/" + plan["step"][1] + "\n";
         s += "Answer:" + gen("answer", {.max_tokens = 6});
       }},
      {"select_two",
       [](State& s) {
         s += kShots + "Q: What is the capital of Italy?\nA:" + select("c", {" Rome", " Madrid"});
       }},
      {"select_lengths",
       [](State& s) {
         s += "The colour of the sky is" + select("c", {" blue", " green", " a very dark shade of purple"});
       }},
      {"select_then_gen",
       [](State& s) {
         s += "Is water wet? Answer:" + select("c", {" yes", " no"}) + ", because" + gen("why", {.max_tokens = 8});
       }},
      {"select_greedy",
       [](State& s) {
         s += kShots + "Q: What is the capital of Spain?\nA:" +
              select("c", {" Rome", " Madrid", " Paris"}, {.method = choice::greedy_token_selection});
       }},
      {"select_unconditional",
       [](State& s) {
         s += "The sun rises in the" +
              select("c", {" east", " west"}, {.method = choice::unconditional_likelihood_normalized});
       },
       "chatml", true},
      {"chat",
       [](State& s) {
         s += sgl::system("You are brief.") + user("What is the capital of France?") +
              assistant(gen("a", {.max_tokens = 12}));
       },
       "chatml", false, true},
      {"chat_turns",
       [](State& s) {
         s += sgl::system("You are brief.");
         s += user("Name a fruit.");
         s += assistant(gen("a", {.max_tokens = 10}));
         s += user("Another one.");
         s += assistant(gen("b", {.max_tokens = 10}));
       },
       "chatml", false, true},
      {"chat_scopes",
       [](State& s) {
         {
           auto turn = s.user();
           s += "Say hello in ";
           s += "Italian.";
         }
         {
           auto turn = s.assistant();
           s += gen("a", {.max_tokens = 10});
         }
       },
       "chatml", false, true},
      {"chat_prefilled",
       [](State& s) {
         s += user("Name a colour.") + assistant("Colour:" + gen("a", {.max_tokens = 5, .stop = "\n"}));
       }},
      {"chat_default_system", [](State& s) { s += user("Hi!") + assistant(gen("a", {.max_tokens = 10})); }, "qwen",
       false, true},
      {"chat_llama2",
       [](State& s) {
         s += sgl::system("Be kind.") + user("Hi!") + assistant(gen("a", {.max_tokens = 8})) + user("More.");
       },
       "llama-2-chat"},
      {"chat_llama3", [](State& s) { s += user("Hi!") + assistant(gen("a", {.max_tokens = 8})); }, "llama-3-instruct"},
      {"chat_vicuna", [](State& s) { s += user("Hi!") + assistant(gen("a", {.max_tokens = 8})); }, "vicuna_v1.1"},
      {"chat_gemma", [](State& s) { s += user("Hi!") + assistant(gen("a", {.max_tokens = 8})); }, "gemma-it"},
      {"chat_default",
       [](State& s) { s += sgl::system("S") + user("Hi!") + assistant(gen("a", {.max_tokens = 8, .stop = "\n"})); },
       "default"},
      {"chat_fork",
       [](State& s) {
         s += user("Is tea good?");
         auto forks = s.fork(2);
         forks += [](int i) { return assistant(gen("a", {.max_tokens = i ? 6 : 9})); };
         forks.join();
       },
       "chatml", false, true},
  };
}

/// What a chat API takes besides texts.
std::vector<Case> wire_cases() {
  return {{"wire_samples",
           [](State& s) { s += user("Name a fruit.") + assistant(gen("a", {.max_tokens = 5, .n = 2, .seed = 7})); },
           "chatml", false, true},
          {"wire_schema",
           [](State& s) {
             const char* schema = R"({"type":"object","properties":{},"required":[],"additionalProperties":false})";
             s += user("A city.") +
                  assistant(gen("a city", {.frequency_penalty = 0.5, .stop = "\n", .json_schema = schema}));
           },
           "chatml", false, true}};
}

/// A turn whose text is read as it is made.
nlohmann::json stream_result(const RunOptions& options) {
  auto live = stream_with(options, [](State& s) {
    s += sgl::system("You are brief.") + user("Name a colour.") + assistant(gen("a", {.max_tokens = 12}));
  });
  std::string text, variable;
  for (std::string_view piece : live.text_iter()) text += piece;
  for (std::string_view piece : live.text_iter("a")) variable += piece;
  nlohmann::json messages = nlohmann::json::array();
  for (const Message& m : live.messages()) messages.push_back({{"role", m.role}, {"content", m.content}});
  return {{"text", text}, {"vars", {{"a", variable}}}, {"messages", messages}};
}

nlohmann::json formats() {
  nlohmann::json all = nlohmann::json::object();
  for (const std::string& name : ChatFormat::names()) {
    const ChatFormat f = ChatFormat::named(name);
    nlohmann::json roles = nlohmann::json::object();
    for (const auto& [role, marks] : f.roles) roles[role] = {marks.prefix, marks.suffix};
    all[name] = {{"roles", roles},
                 {"default_system", f.default_system},
                 {"stop", f.stop},
                 {"image_mark", f.image_mark},
                 {"system_in_first_user", f.system_in_first_user}};
  }
  return all;
}

nlohmann::json result_of(State& s) {
  nlohmann::json vars = nlohmann::json::object();
  for (const auto& [name, slot] : s.variables()) {
    const std::vector<std::string> values = slot.list();
    vars[name] = slot.is_list() ? nlohmann::json(values) : nlohmann::json(values.at(0));
  }
  nlohmann::json messages = nlohmann::json::array();
  for (const Message& m : s.messages()) messages.push_back({{"role", m.role}, {"content", m.content}});
  return {{"text", s.text()}, {"vars", vars}, {"messages", messages}};
}

}  // namespace

int main(int argc, char** argv) {
  const std::vector<std::string> args(argv + 1, argv + argc);
  try {
    const std::string kind = args.at(0);
    const bool templates = args.back() == "--templates", wire = args.back() == "--wire";
    if (kind == "formats") {
      std::cout << formats().dump(1) << std::endl;
      return 0;
    }
    std::map<std::string, std::shared_ptr<Backend>> made;
    auto backend_for = [&](const Case& c) {
      const std::string format = templates ? c.format : "";
      std::shared_ptr<Backend>& backend = made[format];
      if (backend) return backend;
      const ApiOptions api{.model = args.size() > 2 ? args[2] : "",
                           .base_url = args.size() > 1 ? args[1] + "/v1" : "",
                           .api_key = "none",
                           .chat_template = "smollm2"};
      if (kind == "engine")
        backend = engine(EngineOptions{.model_path = args.size() > 1 ? args[1] : ""});
      else if (kind == "runtime")
        backend = runtime(args.at(1), {.chat_template = format});
      else if (kind == "openai")
        backend = openai(api);
      else if (kind == "openai_chat")
        backend = openai_chat(api);
      else
        throw std::runtime_error("unknown kind " + kind);
      return backend;
    };
    nlohmann::json all = nlohmann::json::object();
    std::vector<Case> wanted = cases();
    if (wire) {
      for (Case& c : wire_cases()) wanted.push_back(std::move(c));
    }
    for (const Case& c : wanted) {
      if (kind == "openai" && c.native) continue;
      if (kind == "openai_chat" && !c.chat) continue;
      GenOptions options = c.options;
      options.temperature = 0;
      auto r = run_with({.backend = backend_for(c), .gen = options}, c.body);
      all[c.name] = result_of(r);
    }
    const RunOptions options{.backend = backend_for(cases()[0]), .gen = {.temperature = 0}};
    all["streamed"] = stream_result(options);
    if (kind != "openai_chat") {
      auto rows = run_batch(
          [](State& s, const std::string& country) {
            s += kShots + "Q: What is the capital of " + country + "?\nA:" + gen("a", {.max_tokens = 8, .stop = "\n"});
          },
          std::vector<std::string>{"Greece", "Egypt", "Norway"}, {.run = options});
      for (size_t i = 0; i < rows.size(); ++i) all[cat("batch_", i)] = result_of(rows[i]);
    }
    std::cout << all.dump(1) << std::endl;
  } catch (const std::exception& error) {
    std::cerr << "program_results: " << error.what() << std::endl;
    return 1;
  }
}
