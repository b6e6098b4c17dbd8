// sgl run: what a file's steps do, and where its mistakes are said to be.

#include <string>

#include <gtest/gtest.h>
#include <nlohmann/json.hpp>

#include "cli/program_file.h"
#include "cli/test_world.h"
#include "sgl/program.h"

namespace sgl::cli {
namespace {

bool has(const std::string& text, const std::string& part) { return text.find(part) != std::string::npos; }

/// Runs the program; every gen answers "<NAME>", or what `answers` has for it.
struct Ran {
  Ran(const std::string& program, std::vector<std::string> arguments = {},
      std::map<std::string, std::string> answers = {}) {
    TestWorld w(program);
    auto backend = std::make_shared<ScriptedBackend>([answers](const GenerateCall& call) {
      const auto it = answers.find(call.variable);
      return it == answers.end() ? "<" + call.variable + ">" : it->second;
    });
    w.world.load_backend = [&](const EngineOptions&) { return backend; };
    arguments.insert(arguments.begin(), {"run", "-"});
    status = w.run(arguments);
    out = w.out.str();
    err = w.err.str();
    calls = backend->calls();
  }
  int status;
  std::string out, err;
  std::vector<GenerateCall> calls;
};

TEST(RunProgram, TextsGensAndVariables) {
  const Ran r(R"(
args: {question: "Why?"}
options: {temperature: 0, max_tokens: 9}
steps:
  - "Q: {question}\nA:"
  - gen: {name: answer, stop: ["\n", "."], top_k: 3}
  - text: " Again: {answer} {{braces}}"
  - gen: other
output: "{answer} and {other}"
)");
  EXPECT_EQ(r.status, 0) << r.err;
  EXPECT_EQ(r.out, "<answer> and <other>\n");
  ASSERT_EQ(r.calls.size(), 2U);
  EXPECT_EQ(r.calls[0].prompt.text, "Q: Why?\nA:");
  EXPECT_EQ(r.calls[0].options.temperature, 0);
  EXPECT_EQ(r.calls[0].options.max_tokens, 9);
  EXPECT_EQ(r.calls[0].options.top_k, 3);
  EXPECT_EQ(r.calls[0].options.stop.items(), (std::vector<std::string>{"\n", "."}));
  EXPECT_EQ(r.calls[1].prompt.text, "Q: Why?\nA:<answer> Again: <answer> {braces}");
}

TEST(RunProgram, ArgumentsComeFromTheCommandLine) {
  const std::string program =
      "args: {q: , list: [a, b]}\nsteps:\n  - '{q}'\n  - for: {each: list, as: x, steps: ['({x})']}\n";
  EXPECT_EQ(Ran(program, {"--arg", "q=1=2"}).out, "1=2(a)(b)\n");
  EXPECT_EQ(Ran(program, {"--arg", "q=", "--arg", "list=z"}).out, "(z)\n");
  const Ran missing(program);
  EXPECT_EQ(missing.status, 2);
  EXPECT_TRUE(has(missing.err, "--arg q=")) << missing.err;
  EXPECT_TRUE(has(Ran(program, {"--arg", "q=1", "--arg", "z=2"}).err, "no argument 'z'"));
}

TEST(RunProgram, AJsonFileIsAYamlFile) {
  EXPECT_EQ(Ran(R"({"steps": ["Hi ", {"gen": {"name": "x"}}, {"text": "\n"}]})").out, "Hi <x>\n\n");
}

TEST(RunProgram, TurnsSelectCaptureAndSet) {
  const Ran r(R"(
steps:
  - system: Be brief.
  - user: [ "Is ", {text: "it?"} ]
  - assistant:
      - capture:
          name: all
          steps:
            - select: {name: verdict, choices: ["yes", "no"], method: greedy_token_selection}
            - ", because "
            - gen: why
  - set: {note: "{verdict}!"}
  - print: "note {note}"
output: "{all}"
)");
  EXPECT_EQ(r.status, 0) << r.err;
  EXPECT_EQ(r.out, "note yes!\nyes, because <why>\n");
  EXPECT_EQ(r.calls.at(0).prompt.text, "SYSTEM:Be brief.\nUSER:Is it?\nASSISTANT:yes, because ");
}

TEST(RunProgram, ForkForAndIf) {
  const Ran r(R"(
steps:
  - fork:
      each: [cats, dogs]
      as: animal
      steps:
        - "On {animal}: "
        - gen: idea
        - if: {value: "{animal}", equals: cats}
          then: [ " meow" ]
  - for: {each: idea, as: one, steps: [ "- {one}\n" ]}
  - if: {value: "{idea[1]}", matches: "^<id", not: true}
    then: [ wrong ]
    else: [ right ]
  - fork: {branches: 2, as: n, join: text, steps: [ " [{n}]" ]}
)");
  EXPECT_EQ(r.status, 0) << r.err;
  EXPECT_EQ(r.out, "- <idea>\n- <idea>\nright [0] [1]\n");
}

TEST(RunProgram, TypesSchemasAndReasoning) {
  const Ran r(R"(
steps:
  - gen: {name: n, type: int}
  - gen: {name: person, json_schema: {type: object, properties: {age: {type: integer, maximum: 5}, name: {const: "5"}}}}
  - gen: {name: a, reasoning: qwen3}
)",
              {"--json"}, {{"n", "7"}, {"a", "<think>t</think>A"}});
  EXPECT_EQ(r.status, 0) << r.err;
  EXPECT_EQ(r.calls.at(0).options.regex, "[-+]?[0-9]+");
  EXPECT_EQ(r.calls.at(1).options.json_schema,
            R"({"type":"object","properties":{"age":{"type":"integer","maximum":5},"name":{"const":"5"}}})");
  const auto json = nlohmann::json::parse(r.out);
  EXPECT_EQ(json["text"], "7<person>A");
  EXPECT_EQ(json["variables"]["a_reasoning_content"], "t");
}

TEST(RunProgram, StreamsTheTextAndExplainsTheCalls) {
  const std::string program = "steps: [ 'a ', {gen: {name: x, stop: '.'}}, ' b' ]";
  EXPECT_EQ(Ran(program, {"--stream"}).out, "a <x> b\n");
  const Ran explained(program, {"--explain"});
  EXPECT_TRUE(has(explained.out, "1. state 0: gen(\"x\") after 2 bytes, \"a \"")) << explained.out;
  EXPECT_TRUE(explained.calls.empty());
  EXPECT_TRUE(has(Ran("options: {max_tokens: 9}\n" + program, {"--explain"}).out, "max_tokens 9"));
}

TEST(RunProgram, MistakesAreReportedWithFileAndLine) {
  const std::pair<const char*, const char*> mistakes[] = {
      {"steps:\n  - gne: x\n", "-:2: unknown step 'gne'; did you mean 'gen'?"},
      {"steps:\n  - gen: {name: x, max_token: 4}\n", "-:2: unknown key 'max_token' in gen; did you mean 'max_tokens'?"},
      {"steps:\n  - a\n  - gen: {name: x, max_tokens: many}\n", "-:3: expected a whole number, got 'many'"},
      {"steps:\n  - gen: {name: x, top_p: 3}\n", "-:2: gen(\"x\"): top_p must be in (0, 1], got 3"},
      {"steps:\n  - 'open {brace'\n", "-:2: a '{' without '}'"},
      {"steps:\n  - 'a {x y} b'\n", "-:2: '{x y}' is no name"},
      {"steps:\n  - select: {name: x}\n", "-:2: select needs 'choices'"},
      {"steps:\n  - select: {name: x, choices: [a, b], method: best}\n", "-:2: method must be"},
      {"steps:\n  - fork: {steps: [a]}\n", "-:2: fork needs either"},
      {"steps:\n  - if: {value: a}\n    then: []\n", "-:2: if needs one of"},
      {"stepz: []\n", "-:1: unknown key 'stepz' in a program; did you mean 'steps'?"},
      {"args: {}\n", "-:1: a program needs 'steps'"},
      {"steps: [a\n", "-:2: "},
      {"steps:\n  - text: a\n    gen: b\n", "-:2: a step has one key"},
      // While it runs.
      {"steps:\n  - a\n  - '{nobody}'\n", "-:3: reading \"nobody\""},
      {"steps:\n  - select: {name: x, choices: [a, a]}\n", "-:2: select(\"x\"): the choice \"a\" is there twice"},
      {"steps:\n  - user:\n      - b\n      - user: c\n", "-:4: a user turn begins inside of the user turn"},
      {"steps:\n  - if: {value: a, matches: '('}\n    then: []\n", "-:2: matches: '(' is no regular expression"},
      {"args: {l: [a]}\nsteps:\n  - '{l}'\n", "-:3: l is a list"},
      {"steps:\n  - fork: {branches: 2, steps: [{gen: x}]}\n  - 'a {x}'\n  - gen: y\n", "-:3: x is a list"},
      {"steps:\n  - gen: x\noutput: '{x} {nobody}'\n", "-:3: reading \"nobody\""},
      {"steps:\n  - fork: {branches: 100000, steps: [a]}\n", "-:2: branches must be in [1, 1000], got 100000"},
      {"args: {l: [a]}\nsteps:\n  - '{l[4]}'\n", "-:3: l[4]: the list has 1 elements"}};
  for (const auto& [program, message] : mistakes) {
    const Ran r(program);
    EXPECT_EQ(r.status, 1) << program;
    EXPECT_TRUE(has(r.err, message)) << program << "\n gave " << r.err;
  }
}

TEST(RunProgram, ACallThatFailsIsReportedWithItsStep) {
  for (const char* program : {"steps:\n  - gen: good\n  - assistant:\n      - gen: bad\n  - gen: after\n",
                              "steps:\n  - fork:\n      branches: 2\n      steps: [ gen: bad ]\n  - gen: after\n"}) {
    for (const std::vector<std::string>& flags : {std::vector<std::string>{}, {"--stream"}}) {
      TestWorld w(program);
      w.world.load_backend = [](const EngineOptions&) {
        return std::make_shared<ScriptedBackend>([](const GenerateCall& call) -> std::string {
          if (call.variable == "bad") throw Error(ErrorKind::Server, "server answered 500: no", 500);
          return "x";
        });
      };
      std::vector<std::string> words = {"run", "-"};
      words.insert(words.end(), flags.begin(), flags.end());
      EXPECT_EQ(w.run(words), 1);
      EXPECT_TRUE(has(w.err.str(), "-:4: reading \"bad\": server answered 500: no")) << program << w.err.str();
    }
  }
}

TEST(RunProgram, TheCommandLineIsChecked) {
  TestWorld none;
  EXPECT_EQ(none.run({"run"}), 2);
  TestWorld two;
  EXPECT_EQ(two.run({"run", "x.yaml", "--url", "http://x", "--openai", "m"}), 2);
  const std::vector<std::vector<std::string>> contradictions = {{"--stream", "--json"},
                                                                {"--explain", "--stream"},
                                                                {"--base-url", "http://x/v1"},
                                                                {"--url", "http://x", "--base-url", "http://x/v1"}};
  for (const std::vector<std::string>& flags : contradictions) {
    EXPECT_EQ(Ran("steps: [a]", flags).status, 2) << flags[0];
  }
  TestWorld gone;
  EXPECT_EQ(gone.run({"run", "no/such.yaml"}), 1);
  EXPECT_TRUE(has(gone.err.str(), "no/such.yaml"));
}

}  // namespace
}  // namespace sgl::cli
