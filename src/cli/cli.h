#pragma once
// The program `sgl`: its commands, and what they need of the world.
//
//   main ── run ──┬── serve     flags → ServerOptions → run_server
//                 ├── generate  a prompt or JSONL → the same requests as /generate → JSONL
//                 ├── chat      lines → one conversation → streamed answers
//                 ├── run       a program file → steps on a state → its text
//                 ├── bench     ops, latency, throughput, serving → tables and JSON
//                 └── grammar   a schema, pattern or EBNF file → what it accepts, its masks, their speed, its automaton
//
// Exit status: 0 all went well, 1 something failed, 2 the command line is wrong. Errors are one line on stderr, "sgl:
// …".

#include <functional>
#include <iosfwd>
#include <memory>
#include <stdexcept>
#include <string>
#include <vector>

#include "server/engine_api.h"
#include "server/server.h"
#include "sgl/program_backend.h"

namespace sgl::cli {

/// What commands use besides their arguments. main.cpp fills in the real things, tests others.
struct World {
  std::istream& in;
  std::ostream& out;
  std::ostream& err;
  bool in_is_terminal = false;
  bool out_is_terminal = false;
  int columns = 100;  ///< for help texts
  std::function<std::shared_ptr<EngineApi>(const EngineOptions&)> load;
  std::function<int(const ServerOptions&)> serve;
  std::function<std::shared_ptr<Backend>(const EngineOptions&)> load_backend = {};  ///< of programs; empty: sgl::engine
};

/// The command line is wrong: the message says how. Ends the program with status 2.
class UsageError : public std::runtime_error {
 public:
  using std::runtime_error::runtime_error;
};

/// "cannot read PATH: " and the system's reason. Call it at once: it looks at errno.
std::string cannot_read(const std::string& path);

/// Runs the program with these arguments (without its own name) and returns the exit status. Throws nothing.
int run(const std::vector<std::string>& arguments, World& world);

// The commands. Each takes its own arguments, returns the exit status, throws UsageError and Error.
int serve(const std::vector<std::string>& arguments, World& world);
int generate(const std::vector<std::string>& arguments, World& world);
int chat(const std::vector<std::string>& arguments, World& world);
int run_program(const std::vector<std::string>& arguments, World& world);
int bench(const std::vector<std::string>& arguments, World& world);
int grammar(const std::vector<std::string>& arguments, World& world);

}  // namespace sgl::cli
