#include "server/routes.h"

#include <algorithm>
#include <future>
#include <optional>
#include <string>
#include <string_view>
#include <utility>

#include <fmt/format.h>

#include "base/log.h"
#include "server/commands.h"
#include "server/error_body.h"
#include "server/generation.h"
#include "server/health.h"
#include "server/information.h"
#include "server/json_reader.h"
#include "server/native_encode.h"
#include "server/native_generate.h"
#include "server/observed.h"
#include "server/openai_chat.h"
#include "server/openai_completions.h"
#include "server/openai_embeddings.h"
#include "server/parse_routes.h"
#include "server/score.h"
#include "server/text_routes.h"
#include "server/unsupported_routes.h"

namespace sgl {
namespace {

using Handler = void (*)(Service&, const HttpRequest&, const std::shared_ptr<Responder>&);
using Lane = WorkerPool::Lane;

struct Route {
  std::string_view path;  ///< ending in '*': every path that goes on from there
  unsigned methods;
  Handler handler;
  Dialect dialect = Dialect::Native;
  /// Output for what is cheap: it must not wait behind prompts. None: it costs less than the way to a worker and back.
  std::optional<Lane> lane = Lane::Output;
  bool json_only = false;  ///< 400 unless the body's type is application/json
  Access access = Access::Normal;
};

void generate(Service& service, const HttpRequest& request, const std::shared_ptr<Responder>& responder) {
  const auto engine = service.require_engine();
  start_generation(service, request,
                   parse_generate(parse_json(request.body), *engine, service.options(), service.sessions()), responder);
}

void chat(Service& service, const HttpRequest& request, const std::shared_ptr<Responder>& responder) {
  const auto engine = service.require_engine();
  start_generation(service, request,
                   parse_chat(parse_json(request.body), *engine, service.options(), service.chat_formats()), responder);
}

void completions(Service& service, const HttpRequest& request, const std::shared_ptr<Responder>& responder) {
  const auto engine = service.require_engine();
  start_generation(service, request, parse_completions(parse_json(request.body), *engine, service.options()),
                   responder);
}

// Routes whose call needs the body and the engine only.
template <Call (*parse)(const Json&, const EngineApi&)>
void ask_engine(Service& service, const HttpRequest& request, const std::shared_ptr<Responder>& responder) {
  const auto engine = service.require_engine();
  start_generation(service, request, parse(parse_json(request.body), *engine), responder);
}

constexpr Dialect kNative = Dialect::Native, kOpenAi = Dialect::OpenAi;
constexpr Access kAdmin = Access::Admin;
constexpr std::nullopt_t kAtOnce = std::nullopt;

constexpr Route kRoutes[] = {
    // Inference
    {"/v1/chat/completions", kPost, chat, kOpenAi, Lane::Request, true},
    {"/v1/completions", kPost, completions, kOpenAi, Lane::Request, true},
    {"/generate", kPost | kPut, generate, kNative, Lane::Request},
    {"/v1/embeddings", kPost, ask_engine<parse_embeddings>, kOpenAi, Lane::Request, true},
    {"/encode", kPost | kPut, ask_engine<parse_encode>, kNative, Lane::Request},
    {"/v1/score", kPost, ask_engine<parse_score>, kOpenAi, Lane::Request, true},
    {"/v1/rerank", kPost, ask_engine<parse_rerank>, kOpenAi, Lane::Request, true},
    {"/invocations", kPost, chat, kOpenAi, Lane::Request, true},
    {"/v1/tokenize", kPost, handle_tokenize, kOpenAi, Lane::Request, true},
    {"/tokenize", kPost, handle_tokenize, kOpenAi, Lane::Request, true},
    {"/v1/detokenize", kPost, handle_detokenize, kOpenAi, Lane::Request, true},
    {"/detokenize", kPost, handle_detokenize, kOpenAi, Lane::Request, true},
    {"/parse_function_call", kPost, handle_parse_function_call, kNative, Lane::Request},
    {"/separate_reasoning", kPost, handle_separate_reasoning, kNative, Lane::Request},
    {"/open_session", kPost, handle_open_session},
    {"/close_session", kPost, handle_close_session},
    // Information
    {"/", kGet, handle_root},
    {"/health", kGet, handle_health, kNative, kAtOnce},
    {"/health/live", kGet, handle_live, kNative, kAtOnce},
    {"/health/ready", kGet, handle_ready, kNative, kAtOnce},
    {"/health_generate", kGet, handle_health, kNative, kAtOnce},
    {"/ready", kGet, handle_ready, kNative, kAtOnce},
    {"/v1/models", kGet, handle_models, kOpenAi},
    {"/v1/models/*", kGet, handle_model, kOpenAi},
    {"/model_info", kGet, handle_model_info},
    {"/get_model_info", kGet, handle_model_info},
    {"/server_info", kGet, handle_server_info},
    {"/get_server_info", kGet, handle_server_info},
    {"/v1/loads", kGet, handle_loads},
    {"/ping", kGet, handle_health, kNative, kAtOnce},
    {"/metrics", kGet, handle_metrics},
    {"/openapi.json", kGet, handle_openapi},
    // Control
    {"/flush_cache", kGet | kPost, handle_flush_cache, kNative, Lane::Output, false, kAdmin},
    {"/abort_request", kPost, handle_abort_request, kNative, Lane::Output, false, kAdmin},
    {"/pause_generation", kPost, handle_pause, kNative, Lane::Output, false, kAdmin},
    {"/continue_generation", kPost, handle_continue, kNative, Lane::Output, false, kAdmin},
    {"/configure_logging", kPost, handle_configure_logging, kNative, Lane::Output, false, kAdmin},
    {"/concate_and_append_request", kPost, handle_concatenate},
};

bool matches(std::string_view pattern, std::string_view path) {
  if (!pattern.ends_with('*')) return path == pattern;
  pattern.remove_suffix(1);
  return path.starts_with(pattern) && path.size() > pattern.size();
}

template <typename Table>
auto find_in(const Table& table, std::string_view path) {
  const auto found =
      std::find_if(std::begin(table), std::end(table), [&](const auto& r) { return matches(r.path, path); });
  return found == std::end(table) ? nullptr : &*found;
}

// What a path leads to: one of the two, or neither.
struct Target {
  const Route* route = nullptr;
  const UnsupportedRoute* unsupported = nullptr;

  bool found() const { return route != nullptr || unsupported != nullptr; }
  std::string_view path() const {
    return route != nullptr ? route->path : unsupported != nullptr ? unsupported->path : "none";
  }
  unsigned methods() const { return route != nullptr ? route->methods : unsupported->methods; }
  Access access() const {
    return route != nullptr ? route->access : unsupported != nullptr ? unsupported->access : Access::Normal;
  }
};

Target find_target(std::string_view path) {
  Target out{.route = find_in(kRoutes, path)};
  if (out.route == nullptr) out.unsupported = find_in(unsupported_routes(), path);
  return out;
}

unsigned method_bit(std::string_view method) {
  if (method == "GET" || method == "HEAD") return kGet;
  if (method == "POST") return kPost;
  if (method == "PUT") return kPut;
  return 0;
}

std::string allowed(unsigned methods) {
  std::string out = "OPTIONS";
  if ((methods & kGet) != 0) out += ", GET, HEAD";
  if ((methods & kPost) != 0) out += ", POST";
  if ((methods & kPut) != 0) out += ", PUT";
  return out;
}

// What a browser asks before a page of another site may call.
HttpHeaders cors_headers(const Cors& cors, const HttpRequest& request) {
  HttpHeaders out;
  const std::string_view allowed_origin = cors.allowed(request.header("Origin"));
  if (cors.varies()) out.emplace_back("Vary", "Origin");
  if (allowed_origin.empty()) return out;
  out.emplace_back("Access-Control-Allow-Origin", allowed_origin);
  out.emplace_back("Access-Control-Expose-Headers", "X-Request-Id, Retry-After");
  if (request.method != "OPTIONS") return out;
  out.emplace_back("Access-Control-Allow-Methods", "GET, HEAD, POST, PUT, OPTIONS");
  out.emplace_back("Access-Control-Allow-Headers", "Authorization, Content-Type, *");  // '*' leaves the first out
  out.emplace_back("Access-Control-Max-Age", "600");
  return out;
}

bool is_json_type(std::string_view content_type) {
  std::string type(content_type.substr(0, content_type.find(';')));
  while (!type.empty() && type.back() == ' ') type.pop_back();
  std::transform(type.begin(), type.end(), type.begin(),
                 [](unsigned char c) { return static_cast<char>(std::tolower(c)); });
  return type == "application/json" || (type.starts_with("application/") && type.ends_with("+json"));
}

void run_route(const Route& route, Service& service, const HttpRequest& request,
               const std::shared_ptr<Responder>& responder) {
  try {
    route.handler(service, request, responder);
  } catch (const std::exception& e) {
    HttpResponse response = error_response(route.dialect, e);
    if (response.status == 500) {
      log::write(log::Level::err, e.what(), fields_of(request.tag).add("path", request.path));
    }
    responder->respond(std::move(response));
  }
}

// Where a request would be refused once its prompt is tokenized, it is told at once: a server that is full must not
// work for those it turns away.
std::optional<HttpResponse> refusal_of_work(const Service& service, const Route& route) {
  constexpr Handler kWork[] = {generate,
                               chat,
                               completions,
                               ask_engine<parse_embeddings>,
                               ask_engine<parse_encode>,
                               ask_engine<parse_score>,
                               ask_engine<parse_rerank>};
  if (std::find(std::begin(kWork), std::end(kWork), route.handler) == std::end(kWork)) return std::nullopt;
  if (service.state() == Service::State::Draining) return flat_error(503, "the server is shutting down");
  const auto engine = service.engine();
  if (engine == nullptr) return std::nullopt;
  const EngineStats stats = engine->stats();
  if (!stats.refusal.empty()) return flat_error(503, stats.refusal);
  return std::nullopt;
}

std::optional<HttpResponse> refusal_of_key(Service& service, const Target& target, const HttpRequest& request) {
  if (request.method == "OPTIONS" || is_open_to_all(request.path)) return std::nullopt;
  return service.keys().refusal(target.access(), request.header("Authorization"));
}

// The answer to a request whose header says all: what it asks for is not there, or not in this form.
std::optional<HttpResponse> answer_to_head(const Target& target, const HttpRequest& request) {
  const bool of_server = request.method == "OPTIONS" && request.path == "*";
  if (!target.found() && !of_server) {
    return flat_error(404, fmt::format("there is no route {} {}", request.method, quote(request.path)));
  }
  const std::string methods = allowed(of_server ? kGet | kPost | kPut : target.methods());
  if (request.method == "OPTIONS") {
    return HttpResponse{.status = 204, .content_type = {}, .body = {}, .headers = {{"Allow", methods}}};
  }
  if ((target.methods() & method_bit(request.method)) == 0) {
    HttpResponse response = flat_error(
        405, fmt::format("{} takes {}, got {}", request.path, methods, std::string_view(request.method).substr(0, 40)));
    response.headers.emplace_back("Allow", methods);
    return response;
  }
  if (target.route == nullptr) {
    return flat_error(501, fmt::format("{} is not supported. {}", request.path, target.unsupported->why));
  }
  if (const std::string_view encoding = request.header("Content-Encoding");
      !encoding.empty() && !equal_ignoring_case(encoding, "identity")) {
    return flat_error(415,
                      fmt::format("Content-Encoding {} is not supported; send the body as it is", quote(encoding)));
  }
  if (target.route->json_only && !is_json_type(request.header("Content-Type"))) {
    return flat_error(
        400, fmt::format("Content-Type must be application/json, got {}", quote(request.header("Content-Type"))),
        "Bad Request");
  }
  return std::nullopt;
}

// Runs the target. The request may be anybody's.
void enter(Service& service, const Target& target, HttpRequest request, const std::shared_ptr<Responder>& responder) {
  if (auto answer = answer_to_head(target, request)) return responder->respond(std::move(*answer));
  const Route* route = target.route;
  if (auto refusal = refusal_of_work(service, *route)) return responder->respond(std::move(*refusal));
  if (!route->lane) return run_route(*route, service, request, responder);
  service.workers()->post(
      *route->lane, [&service, route, r = std::move(request), responder] { run_route(*route, service, r, responder); });
}

}  // namespace

void dispatch(Service& service, HttpRequest request, const std::shared_ptr<Responder>& responder) {
  request.tag = tag_of(request);
  const Target target = find_target(request.path);
  const auto observed = std::make_shared<Observed>(responder, request, target.path(), service.metrics_or_null(),
                                                   service.log_level_http());
  for (auto& [name, value] : cors_headers(service.cors(), request)) observed->add_header(name, value);
  if (auto refusal = refusal_of_key(service, target, request)) return observed->respond(std::move(*refusal));
  enter(service, target, std::move(request), observed);
}

bool wants_body(Service& service, const HttpRequest& head) {
  const Target target = find_target(head.path);
  return !refusal_of_key(service, target, head) && !answer_to_head(target, head);
}

void dress_refusal(Service& service, const HttpRequest& head, HttpResponse& response) {
  response.headers.emplace_back("X-Request-Id", tag_of(head).id);
  for (auto& header : cors_headers(service.cors(), head)) response.headers.push_back(std::move(header));
  if (const auto& metrics = service.metrics_or_null()) metrics->http.count("none", "none", response.status);
}

std::vector<std::pair<std::string_view, unsigned>> served_routes() {
  std::vector<std::pair<std::string_view, unsigned>> out;
  for (const Route& route : kRoutes) out.emplace_back(route.path, route.methods);
  return out;
}

namespace {

class Collector final : public Responder {
 public:
  void add_header(std::string /*name*/, std::string /*value*/) override {}
  void respond(HttpResponse response) override { answer_.set_value(std::move(response)); }
  void stream(std::string data, bool last) override {
    events_ += data;
    if (last) answer_.set_value({.status = 200, .content_type = "text/event-stream", .body = events_, .headers = {}});
  }
  size_t unsent() const override { return 0; }
  void drop() override { answer_.set_value({.status = 500, .content_type = {}, .body = {}, .headers = {}}); }
  void watch(std::weak_ptr<ClientWatcher> /*watcher*/) override {}
  HttpResponse wait() { return answer_.get_future().get(); }

 private:
  std::string events_;
  std::promise<HttpResponse> answer_;
};

}  // namespace

HttpResponse call_route(Service& service, HttpRequest request) {
  const auto collector = std::make_shared<Collector>();
  const Target target = find_target(request.path);
  enter(service, target, std::move(request), collector);
  return collector->wait();
}

}  // namespace sgl
