#pragma once
// Programs on language models: text, generation, choice, branches and turns, in plain C++ with its own control flow.
// The runtime serves them well because branches and rows share their prefixes. After SGLang's front-end language
// (Zheng et al. 2024, "SGLang: Efficient Execution of Structured Language Model Programs", §2).
//
//   using namespace sgl;
//   void debate(State& s, std::string plan) {
//     s += "Plan: " + plan + "\n";
//     auto sides = s.fork(2);                                        // the two branches run at the same time
//     sides += [](int i) {
//       return cat("Best argument ", i ? "against" : "for", " it: ") + gen("arg", {.stop = "\n"});
//     };
//     s += "For: " + sides[0]["arg"] + "\nAgainst: " + sides[1]["arg"];   // does not wait
//     s += "\nVerdict: " + gen("verdict");
//   }
//   set_default_backend(engine({}));
//   auto s = run(debate, "a four-day week");
//   std::cout << s["verdict"];                                       // waits
//
// docs/language.md is the tutorial.

#include "sgl/program_backend.h"
#include "sgl/program_expr.h"
#include "sgl/program_json.h"
#include "sgl/program_options.h"
#include "sgl/program_run.h"
#include "sgl/program_state.h"
