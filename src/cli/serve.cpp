// sgl serve: flags into ServerOptions; the rest is the server's.

#include <chrono>
#include <limits>

#include <fmt/format.h>
#include <fmt/ranges.h>

#include "cli/cli.h"
#include "cli/flags.h"
#include "cli/serve_flags.h"
#include "server/reasoning_parser.h"
#include "server/request_log.h"
#include "server/tool_format.h"

namespace sgl::cli {

namespace {

/// Adds an integer flag for a duration in whole seconds.
void seconds(Flags& f, const std::string& name, std::chrono::milliseconds& to, const std::string& help) {
  f.integer_to(
      name, [&to](int64_t n) { to = std::chrono::seconds(n); }, 1, 86400, help);
}

void add_http_flags(Flags& f, ServerOptions& o) {
  constexpr int64_t kMaxBytes = int64_t{1} << 40;
  f.group("HTTP");
  f.text("--ssl-certfile", o.http.tls.certificate_file, "FILE",
         "PEM: speak HTTPS with this certificate (and its chain)");
  f.text("--ssl-keyfile", o.http.tls.key_file, "FILE", "PEM: the certificate's key");
  f.text("--ssl-keyfile-password", o.http.tls.key_password, "TEXT", "of an encrypted key");
  f.text("--cors-allow-origins", o.cors_allow_origins, "ORIGINS",
         "whose pages' scripts may call: '*', origins with commas between them, or '' for none (default: *)");
  f.integer("--max-connections", o.http.max_connections, 1, 1 << 20,
            "open connections; beyond, idle ones are closed (default: 16384)");
  f.integer("--max-body-bytes", o.http.max_body_bytes, 1, kMaxBytes, "of a request; beyond: 413 (default: 67108864)");
  f.integer("--max-header-bytes", o.http.max_header_bytes, 256, 1 << 24, "of a request; beyond: 431 (default: 65536)");
  f.integer("--max-url-bytes", o.http.max_url_bytes, 64, 1 << 24, "of a request; beyond: 414 (default: 8192)");
  f.integer("--max-unsent-bytes", o.http.max_unsent_bytes, 4096, kMaxBytes,
            "of a stream whose client does not read; beyond, it is dropped (default: 1048576)");
  seconds(f, "--idle-timeout", o.http.idle_timeout, "seconds between two requests of a connection (default: 300)");
  seconds(f, "--header-timeout", o.http.header_timeout, "seconds for a request's header (default: 30)");
  seconds(f, "--body-timeout", o.http.body_timeout,
          "seconds for a request's body, and more where it comes with 16 KiB a second (default: 60)");
  seconds(f, "--write-timeout", o.http.write_timeout, "seconds without a client taking a byte (default: 60)");
}

// An empty one, as of a variable that is not set, must not leave the server open.
void key(Flags& f, const std::string& name, std::string& to, const std::string& what, const std::string& help) {
  f.text_to(
      name,
      [&to, name](const std::string& given) {
        if (given.empty()) throw UsageError(name + " is empty; leave it out where the server shall be open to all");
        to = given;
      },
      what, help);
}

}  // namespace

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
  key(f, "--api-key", o.keys.api_key, "KEY", "clients must send it as a bearer token (default: none)");
  key(f, "--admin-api-key", o.keys.admin_api_key, "KEY",
      "flushing, aborting, pausing and logging need it instead (default: none)");
  key(f, "--api-key-file", o.keys.api_key_file, "FILE", "further keys, one a line; read again on SIGHUP");
  key(f, "--admin-api-key-file", o.keys.admin_api_key_file, "FILE", "the same for admin keys");
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
  f.number("--request-timeout", o.request_timeout_s, 0, 1e6,
           "seconds that a generation may take; then 504; 0: no limit (default: 0)");
  f.number("--drain-timeout", o.drain_timeout_s, -1, 1e6,
           "seconds that requests under way have at SIGTERM; then 503; -1: no limit (default: 300)");
  f.toggle("--skip-server-warmup", o.skip_server_warmup, "no request of its own before it is ready");
  f.integer("--tokenizer-worker-num", o.workers, 1, 1024, "threads that read JSON and tokenize (default: 2)");
  add_http_flags(f, o);
  add_compute_flags(f, o.engine);
  add_scheduler_flags(f, o.engine);
  f.group("Logging");
  add_log_level(f, o.log_level, "info");
  f.integer("--decode-log-interval", o.engine.decode_log_interval, 0, kMaxInt,
            "steps between two lines about load and speed; 0: none (default: 40)");
  f.choice("--log-format", o.log_format, {"text", "json"}, "one JSON object a line, or text (default: text)");
  f.choice("--log-level-http", o.log_level_http, {"debug", "info", "warn", "warning", "error", "critical", "off"},
           "of the lines about answers: info for each, warn for errors of the server (default: warn)");
  f.toggle("--log-requests", o.log_requests, "two lines for each generation: what is asked, what is answered");
  f.integer(
      "--log-requests-level", o.log_requests_level, RequestLog::kLeastLevel, RequestLog::kMostLevel,
      "0: sizes and times, 1: and sampling, 2: and the first 2,048 bytes of texts, 3: and all of them (default: 2)");
  f.toggle("--enable-metrics", o.enable_metrics, "serve /metrics for Prometheus");
  f.allow_config();
  return f.parse(arguments, world.out, world.columns);
}

int serve(const std::vector<std::string>& arguments, World& world) {
  ServerOptions options;
  if (!parse_serve(arguments, world, options)) return 0;
  return world.serve(options);
}

}  // namespace sgl::cli
