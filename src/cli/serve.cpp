// sgl serve: flags into ServerOptions; the rest is the server's.

#include <limits>

#include <fmt/format.h>
#include <fmt/ranges.h>

#include "cli/cli.h"
#include "cli/flags.h"
#include "cli/serve_flags.h"
#include "server/reasoning_parser.h"
#include "server/tool_format.h"

namespace sgl::cli {

bool parse_serve(const std::vector<std::string>& arguments, World& world, ServerOptions& o) {
  constexpr int kMaxInt = std::numeric_limits<int>::max();
  Flags f("serve", "sgl serve [--model-path MODEL] [FLAGS]",
          "Serves a model over HTTP, by default on http://127.0.0.1:30000: OpenAI's API under /v1, SGLang's own at "
          "/generate. "
          "SIGTERM or Ctrl-C ends it when the requests that run have ended.");
  add_model_flags(f, o.engine);
  f.text("--served-model-name", o.engine.served_model_name, "NAME", "its id in /v1/models (default: MODEL)");
  f.group("Server");
  f.text("--host", o.http.host, "ADDRESS", "where to listen; 0.0.0.0: everywhere (default: 127.0.0.1)");
  f.integer("--port", o.http.port, 0, 65535, "0: any free one (default: 30000)");
  f.text("--api-key", o.api_key, "KEY", "clients must send it as a bearer token (default: none)");
  f.integer("--stream-interval", o.stream_interval, 1, kMaxInt, "tokens between two events of a stream (default: 1)");
  f.toggle("--incremental-streaming-output", o.incremental_streaming_output,
           "/generate streams what is new, not everything so far");
  f.choice("--sampling-defaults", o.sampling_defaults, {"model", "openai"},
           "where OpenAI's routes have what a request leaves open: the model's generation config, or OpenAI's own "
           "(default: model)");
  f.text("--preferred-sampling-params", o.preferred_sampling_params, "JSON",
         "sampling_params of /generate where a request leaves them open");
  const std::string tool_parsers = fmt::format("auto, {}", fmt::join(tool_parser_names(), ", "));
  f.text_to(
      "--tool-call-parser",
      [&o, &tool_parsers](const std::string& name) {
        if (name != "auto" && find_tool_format(name) == nullptr) {
          throw UsageError(fmt::format("--tool-call-parser must be one of {}, got {}", tool_parsers, name));
        }
        o.tool_call_parser = name;
      },
      "NAME",
      fmt::format("how the model writes calls of tools: {} (default: auto, as its chat template says)", tool_parsers));
  const std::string reasoning_parsers =
      fmt::format("{}, or two tags: '<think>,</think>'", fmt::join(reasoning_parser_names(), ", "));
  f.text_to(
      "--reasoning-parser",
      [&o, &reasoning_parsers](const std::string& name) {
        if (!find_reasoning_tags(name)) {
          throw UsageError(fmt::format("--reasoning-parser must be one of {}; got {}", reasoning_parsers, name));
        }
        o.reasoning_parser = name;
      },
      "NAME",
      fmt::format(
          "how the model marks its thinking, which becomes reasoning_content: {} (default: it stays in the text)",
          reasoning_parsers));
  f.toggle("--skip-server-warmup", o.skip_server_warmup, "no request of its own before it is ready");
  f.integer("--tokenizer-worker-num", o.workers, 1, 1024, "threads that read JSON and tokenize (default: 2)");
  add_compute_flags(f, o.engine);
  add_scheduler_flags(f, o.engine);
  f.group("Logging");
  add_log_level(f, o.log_level, "info");
  f.integer("--decode-log-interval", o.engine.decode_log_interval, 0, kMaxInt,
            "steps between two lines about load and speed; 0: none (default: 40)");
  return f.parse(arguments, world.out, world.columns);
}

int serve(const std::vector<std::string>& arguments, World& world) {
  ServerOptions options;
  if (!parse_serve(arguments, world, options)) return 0;
  return world.serve(options);
}

}  // namespace sgl::cli
