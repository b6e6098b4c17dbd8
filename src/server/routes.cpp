#include "server/routes.h"

#include <algorithm>
#include <future>
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
#include "server/native_generate.h"
#include "server/openai_chat.h"
#include "server/openai_completions.h"
#include "server/parse_routes.h"
#include "server/text_routes.h"

namespace sgl {
namespace {

using Handler = void (*)(Service&, const HttpRequest&, const std::shared_ptr<Responder>&);
using Lane = WorkerPool::Lane;

enum Methods : unsigned { kGet = 1, kPost = 2, kPut = 4 };  // GET brings HEAD with it

struct Route {
  std::string_view path;  ///< ending in '*': every path that goes on from there
  unsigned methods;
  Handler handler;  ///< null: known to SGLang's clients, not served yet
  Dialect dialect = Dialect::Native;
  Lane lane = Lane::Output;  ///< Output for what is cheap: it must not wait behind prompts
  bool json_only = false;    ///< 400 unless the body's type is application/json
};

void generate(Service& service, const HttpRequest& request, const std::shared_ptr<Responder>& responder) {
  const auto engine = service.require_engine();
  start_generation(service, parse_generate(parse_json(request.body), *engine, service.options()), responder);
}

void chat(Service& service, const HttpRequest& request, const std::shared_ptr<Responder>& responder) {
  const auto engine = service.require_engine();
  start_generation(service, parse_chat(parse_json(request.body), *engine, service.options(), service.chat_formats()),
                   responder);
}

void completions(Service& service, const HttpRequest& request, const std::shared_ptr<Responder>& responder) {
  const auto engine = service.require_engine();
  start_generation(service, parse_completions(parse_json(request.body), *engine, service.options()), responder);
}

constexpr Dialect kNative = Dialect::Native, kOpenAi = Dialect::OpenAi;

constexpr Route kRoutes[] = {
    // Inference
    {"/v1/chat/completions", kPost, chat, kOpenAi, Lane::Request, true},
    {"/v1/completions", kPost, completions, kOpenAi, Lane::Request, true},
    {"/generate", kPost | kPut, generate, kNative, Lane::Request},
    {"/invocations", kPost, chat, kOpenAi, Lane::Request, true},
    {"/v1/tokenize", kPost, handle_tokenize, kOpenAi, Lane::Request, true},
    {"/tokenize", kPost, handle_tokenize, kOpenAi, Lane::Request, true},
    {"/v1/detokenize", kPost, handle_detokenize, kOpenAi, Lane::Request, true},
    {"/detokenize", kPost, handle_detokenize, kOpenAi, Lane::Request, true},
    {"/parse_function_call", kPost, handle_parse_function_call, kNative, Lane::Request},
    {"/separate_reasoning", kPost, handle_separate_reasoning, kNative, Lane::Request},
    // Information
    {"/", kGet, handle_root},
    {"/health", kGet, handle_health},
    {"/health_generate", kGet, handle_health},
    {"/ready", kGet, handle_ready},
    {"/v1/models", kGet, handle_models, kOpenAi},
    {"/v1/models/*", kGet, handle_model, kOpenAi},
    {"/model_info", kGet, handle_model_info},
    {"/get_model_info", kGet, handle_model_info},
    {"/server_info", kGet, handle_server_info},
    {"/get_server_info", kGet, handle_server_info},
    {"/v1/loads", kGet, handle_loads},
    {"/ping", kGet, handle_health},
    // Control
    {"/flush_cache", kGet | kPost, handle_flush_cache},
    {"/abort_request", kPost, handle_abort_request},
    {"/concate_and_append_request", kPost, handle_concatenate},
    // Not yet
    {"/encode", kPost | kPut, nullptr},
    {"/classify", kPost | kPut, nullptr},
    {"/v1/embeddings", kPost, nullptr, kOpenAi},
    {"/v1/responses", kPost, nullptr, kOpenAi},
    {"/v1/responses/*", kGet | kPost, nullptr, kOpenAi},
    {"/v1/messages", kPost, nullptr, kOpenAi},
    {"/v1/messages/count_tokens", kPost, nullptr, kOpenAi},
    {"/v1/audio/transcriptions", kPost, nullptr, kOpenAi},
    {"/v1/realtime", kGet, nullptr, kOpenAi},
    {"/api/chat", kPost, nullptr},
    {"/api/generate", kPost, nullptr},
    {"/api/show", kPost, nullptr},
    {"/api/tags", kGet, nullptr},
    {"/v1/score", kPost, nullptr, kOpenAi},
    {"/v1/rerank", kPost, nullptr, kOpenAi},
    {"/v1/classify", kPost, nullptr, kOpenAi},
    {"/vertex_generate", kPost, nullptr},
    {"/metrics", kGet, nullptr},
    {"/start_profile", kGet | kPost, nullptr},
    {"/stop_profile", kGet | kPost, nullptr},
    {"/pause_generation", kPost, nullptr},
    {"/continue_generation", kPost, nullptr},
    {"/load_lora_adapter", kPost, nullptr},
    {"/unload_lora_adapter", kPost, nullptr},
    {"/update_weights_from_disk", kPost, nullptr},
    {"/update_weights_from_tensor", kPost, nullptr},
    {"/update_weights_from_distributed", kPost, nullptr},
    {"/update_weights_from_ipc", kPost, nullptr},
    {"/init_weights_update_group", kPost, nullptr},
    {"/destroy_weights_update_group", kPost, nullptr},
    {"/update_weight_version", kPost, nullptr},
    {"/get_weights_by_name", kGet | kPost, nullptr},
    {"/release_memory_occupation", kGet | kPost, nullptr},
    {"/resume_memory_occupation", kGet | kPost, nullptr},
    {"/open_session", kGet | kPost, nullptr},
    {"/close_session", kGet | kPost, nullptr},
    {"/configure_logging", kGet | kPost, nullptr},
    {"/set_internal_state", kPost, nullptr},
    {"/freeze_gc", kGet | kPost, nullptr},
    {"/slow_down", kGet | kPost, nullptr},
    {"/set_trace_level", kGet | kPost, nullptr},
};

const Route* find_route(std::string_view path) {
  for (const Route& route : kRoutes) {
    const bool prefix = route.path.ends_with('*');
    const std::string_view fixed = route.path.substr(0, route.path.size() - (prefix ? 1 : 0));
    if (prefix ? path.starts_with(fixed) && path.size() > fixed.size() : path == fixed) return &route;
  }
  return nullptr;
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

// Takes the same time whatever of the key is right.
bool same_secret(std::string_view given, std::string_view secret) {
  unsigned difference = given.size() == secret.size() ? 0 : 1;
  for (size_t i = 0; i < given.size(); ++i) {
    difference |= static_cast<unsigned char>(given[i]) ^ static_cast<unsigned char>(secret[i % secret.size()]);
  }
  return difference == 0;
}

bool may_enter(const std::string& api_key, const HttpRequest& request) {
  if (api_key.empty() || request.method == "OPTIONS") return true;
  for (std::string_view open : {"/health", "/ready", "/metrics"}) {
    if (request.path.starts_with(open)) return true;
  }
  constexpr std::string_view kScheme = "Bearer ";
  const std::string_view authorization = request.header("Authorization");
  return authorization.starts_with(kScheme) && same_secret(authorization.substr(kScheme.size()), api_key);
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
    if (response.status == 500) log::error("{} {}: {}", request.method, request.path, e.what());
    responder->respond(std::move(response));
  }
}

}  // namespace

void dispatch(Service& service, HttpRequest request, const std::shared_ptr<Responder>& responder) {
  if (!may_enter(service.options().api_key, request)) {
    return responder->respond({.status = 401,
                               .content_type = "application/json",
                               .body = R"({"error":"Unauthorized"})",
                               .headers = {{"WWW-Authenticate", "Bearer"}}});
  }
  const Route* route = find_route(request.path);
  if (route == nullptr) {
    return responder->respond(
        flat_error(404, fmt::format("there is no route {} {}", request.method, quote(request.path))));
  }
  if (request.method == "OPTIONS") {
    return responder->respond(
        {.status = 204, .content_type = {}, .body = {}, .headers = {{"Allow", allowed(route->methods)}}});
  }
  if ((route->methods & method_bit(request.method)) == 0) {
    HttpResponse response = flat_error(405, fmt::format("{} does not take the method {}, but {}", request.path,
                                                        quote(request.method), allowed(route->methods)));
    response.headers.emplace_back("Allow", allowed(route->methods));
    return responder->respond(std::move(response));
  }
  if (route->handler == nullptr) {
    return responder->respond(
        flat_error(501, fmt::format("{} is not supported by this version of sgl.", request.path)));
  }
  if (route->json_only && !is_json_type(request.header("Content-Type"))) {
    return responder->respond(flat_error(
        400, fmt::format("Content-Type must be application/json, got {}", quote(request.header("Content-Type"))),
        "Bad Request"));
  }
  service.workers()->post(
      route->lane, [&service, route, r = std::move(request), responder] { run_route(*route, service, r, responder); });
}

namespace {

class Collector final : public Responder {
 public:
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
  dispatch(service, std::move(request), collector);
  return collector->wait();
}

}  // namespace sgl
