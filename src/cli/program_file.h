#pragma once
// A program as a file, for `sgl run`: YAML, or JSON, which YAML contains. docs/language.md describes the form.
//
//   file ─ parse: every key is known, every value has its type, or an error with file and line ─→ Steps ─ execute ─→
//   State

#include <functional>
#include <map>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "sgl/program.h"

namespace sgl::cli {

/// A text with names in braces: "Q: {question}", "{tips[0]}"; "{{" and "}}" are braces.
struct Template {
  struct Part {
    std::string text = {};  ///< as it is, if `name` is empty
    std::string name = {};
    int index = -1;  ///< of an element; −1: the whole
  };
  std::vector<Part> parts = {};
};

/// One step of a program.
struct Step {
  enum class Kind { Text, Gen, Select, Turn, Capture, Fork, For, If, Set, Print } kind = Kind::Text;
  int line = 0;                     ///< in the file, from 1
  std::string name = {};            ///< of the variable, the turn, or what an element is called
  Template text = {};               ///< Text, Set, Print; the value that If looks at
  GenOptions options = {};          ///< Gen
  std::string type = {};            ///< Gen: int, float, bool; empty: text
  std::string reasoning = {};       ///< Gen: the model type of separate_reasoning; empty: none
  std::vector<Template> list = {};  ///< Select: the choices; Fork, For: the elements
  std::string list_name = {};       ///< Fork, For: the variable or argument that holds the elements instead
  int times = 0;                    ///< Fork, For: how often, if there are no elements
  std::string method = {};          ///< Select; If: equals, contains, matches; Fork: variables, text
  Template operand = {};            ///< If: what the value is compared with
  bool negated = false;             ///< If
  std::vector<Step> steps = {}, otherwise = {};
};

constexpr int kMostBranches = 1000;  ///< of a fork: each has a thread of its own

using Value = std::variant<std::string, std::vector<std::string>>;

struct ProgramFile {
  std::string path = {};
  std::map<std::string, Value> arguments = {};  ///< with their defaults
  std::vector<std::string> required = {};       ///< arguments without one
  GenOptions options = {};                      ///< of the run
  std::vector<Step> steps = {};
  Template output = {};  ///< what is printed at the end; empty: the whole text
  int output_line = 0;
};

/// Throws InvalidArgument: "FILE:LINE: what is wrong, what was expected".
ProgramFile parse_program(const std::string& text, const std::string& path);

/// Runs the steps and waits for what they appended. `print` gets the text of every print step. Throws as programs do;
/// what a step does wrong, or its call, has "FILE:LINE: " before it.
void execute(const ProgramFile& program, const std::map<std::string, Value>& arguments, State& state,
             const std::function<void(const std::string&)>& print);

/// The program's output after a run. Throws likewise.
std::string expand_output(const ProgramFile& program, const std::map<std::string, Value>& arguments,
                          const State& state);

}  // namespace sgl::cli
