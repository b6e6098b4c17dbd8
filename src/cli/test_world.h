#pragma once
// For tests: a world of strings around a scripted engine.

#include <memory>
#include <optional>
#include <sstream>
#include <string>
#include <vector>

#include "cli/cli.h"
#include "server/fake_engine.h"

namespace sgl::cli {

/// Runs commands and keeps what they print. The engine answers every prompt with one text.
struct TestWorld {
  explicit TestWorld(const std::string& input = "") : in(input) {}

  int run(const std::vector<std::string>& arguments) { return cli::run(arguments, world); }

  std::istringstream in;
  std::ostringstream out, err;
  std::shared_ptr<FakeEngine> engine = std::make_shared<FakeEngine>();
  std::optional<EngineOptions> loaded;  ///< what the engine was loaded with
  std::optional<ServerOptions> served;  ///< what the server was started with
  World world{.in = in,
              .out = out,
              .err = err,
              .load =
                  [this](const EngineOptions& o) {
                    loaded = o;
                    return std::shared_ptr<EngineApi>(engine);
                  },
              .serve =
                  [this](const ServerOptions& o) {
                    served = o;
                    return 0;
                  }};
};

}  // namespace sgl::cli
