#pragma once
// `sgl serve`: the HTTP server around one engine.
//
//   sockets ── I/O thread ──► workers ──► Engine::submit ──► scheduler's thread
//      ▲                         ▲                                  │
//      └──── bytes to write ─────┴───────── pieces of output ◄──────┘
//
// One I/O thread owns every socket and parses HTTP (http_server.h); a few workers parse JSON, tokenize and word the
// answers (worker_pool.h); the scheduler's thread only hands pieces over (generation.h). routes.cpp lists the routes.

#include <chrono>
#include <cstddef>
#include <functional>
#include <memory>
#include <string>

#include "server/access.h"
#include "server/engine_api.h"
#include "server/http_server.h"

namespace sgl {

/// How to serve. Names and meanings are those of the `sgl serve` flags; sizes are in bytes.
struct ServerOptions {
  EngineOptions engine;
  HttpOptions http;                      ///< host, port, TLS, limits and timeouts
  KeyOptions keys;                       ///< none: open to all
  std::string cors_allow_origins = "*";  ///< of pages whose scripts may call; see Cors
  double request_timeout_s = 0;          ///< a generation may take; 0: no limit
  double drain_timeout_s = 300;          ///< for requests under way at SIGTERM; negative: no limit
  bool skip_server_warmup = false;
  bool incremental_streaming_output = false;  ///< /generate streams deltas instead of everything so far
  int stream_interval = 1;                    ///< tokens between two events of a stream
  std::string sampling_defaults = "model";    ///< of OpenAI's routes: the model's generation config, or "openai": none
  std::string preferred_sampling_params;      ///< a JSON object: what /generate's sampling_params are where not given
  std::string tool_call_parser;               ///< how the model writes calls of tools; empty: as its template does
  std::string reasoning_parser;               ///< how the model marks its thinking; empty: it stays in the text
  int workers = 2;                            ///< threads for JSON and tokenizing
  bool enable_metrics = false;                ///< count, and serve /metrics
  bool log_requests = false;
  int log_requests_level = 2;  ///< see RequestLog
  std::string log_level = "info";
  std::string log_level_http = "warn";  ///< of the line about each answer
  std::string log_format = "text";      ///< or "json"
};

/// Listens, loads the model, warms up, serves until SIGTERM or SIGINT, drains, and returns the exit status: 0; or, when
/// the engine's device was lost, 1 as soon as its requests have their 500.
/// While requests drain, the health routes answer 503; those that have not ended when the time is over are answered
/// with 503; a second signal ends the process at once. SIGHUP reads the files of keys and the certificate again.
/// Throws Error when it cannot listen (before it loads anything), load, or answer its own warm-up request.
int run_server(const ServerOptions& options);

/// The same with another engine: `load` is called once, after the socket listens. `on_listening` gets the port.
int serve(const ServerOptions& options, const std::function<std::shared_ptr<EngineApi>()>& load,
          const std::function<void(int port)>& on_listening = nullptr);

}  // namespace sgl
