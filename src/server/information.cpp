#include "server/information.h"

#include <algorithm>
#include <array>
#include <chrono>
#include <openapi_json.h>  // made by the build: CMakeLists.txt
#include <string>
#include <utility>

#include <fmt/format.h>

#include "server/error_body.h"
#include "server/json_reader.h"
#include "server/json_writer.h"
#include "server/load.h"
#include "server/prometheus.h"

namespace sgl {
namespace {

void write_card(JsonWriter& w, const Service& service, const ModelInfo& info) {
  w.begin_object().field("id", info.served_model_name).field("object", "model").field("created", service.started_at());
  w.field("owned_by", "sglang").field("root", info.served_model_name).null_field("parent");
  w.field("max_model_len", info.context_length).end_object();
}

template <typename T>
void optional_field(JsonWriter& w, std::string_view name, const std::optional<T>& value) {
  if (value) {
    w.field(name, *value);
  } else {
    w.null_field(name);
  }
}

std::optional<std::string_view> or_null(std::string_view name) {
  return name.empty() ? std::nullopt : std::optional(name);
}

// The one in use: what the flag names, or what was chosen by the chat template.
std::optional<std::string_view> tool_call_parser(const Service& service) {
  const ToolFormat* tools = service.chat_formats().tools;
  return or_null(tools != nullptr ? tools->name : service.options().tool_call_parser);
}

// Every flag, but for the keys; what is chosen at the start (dtype, the number of threads) as it was chosen there.
void write_flags(JsonWriter& w, const Service& service, const EngineOptions& o) {
  const ServerOptions& server = service.options();
  w.field("model_path", o.model_path).field("tokenizer_path", o.tokenizer_path);
  w.field("skip_tokenizer_init", o.skip_tokenizer_init).field("is_embedding", o.is_embedding);
  w.field("load_format", o.load_format);
  w.field("revision", o.revision).field("served_model_name", o.served_model_name);
  optional_field(w, "chat_template", or_null(o.chat_template));  // null: the model's own, if it has one
  w.field("device", o.device).field("dtype", o.dtype).field("kv_cache_dtype", o.kv_cache_dtype);
  optional_field(w, "quantization", or_null(o.quantization));
  optional_field(w, "context_length", o.context_length);
  w.field("allow_auto_truncate", o.allow_auto_truncate).field("json_model_override_args", o.json_model_override_args);
  w.field("enable_deterministic_inference", o.deterministic).field("threads", o.threads).field("numa", o.numa);
  optional_field(w, "max_total_tokens", o.max_total_tokens);
  w.field("mem_fraction_static", o.mem_fraction_static).field("page_size", o.page_size);
  w.field("max_running_requests", o.max_running_requests).field("max_queued_requests", o.max_queued_requests);
  w.field("max_ttft", o.max_ttft_s);
  w.field("chunked_prefill_size", o.chunked_prefill_size).field("max_prefill_tokens", o.max_prefill_tokens);
  w.field("schedule_policy", o.schedule_policy);
  w.field("schedule_conservativeness", o.schedule_conservativeness);
  w.field("disable_radix_cache", o.disable_radix_cache).field("random_seed", o.random_seed);
  w.field("grammar_backend", o.skip_tokenizer_init ? "none" : "sgl")
      .field("disable_jump_forward", o.disable_jump_forward);
  w.field("constrained_json_any_whitespace", o.constrained_json_any_whitespace);
  w.field("constrained_json_max_whitespace_cnt", o.constrained_json_max_whitespace);
  w.field("decode_log_interval", o.decode_log_interval);
  w.field("host", server.http.host).field("port", server.http.port).field("log_level", server.log_level);
  w.field("skip_server_warmup", server.skip_server_warmup).field("stream_interval", server.stream_interval);
  w.field("sampling_defaults", server.sampling_defaults)
      .field("preferred_sampling_params", server.preferred_sampling_params);
  w.field("incremental_streaming_output", server.incremental_streaming_output);
  w.field("enable_priority_scheduling", o.enable_priority_scheduling);
  w.field("priority_scheduling_preemption_threshold", o.priority_scheduling_preemption_threshold);
  w.field("disable_overlap_schedule", o.disable_overlap_schedule).field("tokenizer_worker_num", server.workers);
  optional_field(w, "tool_call_parser", tool_call_parser(service));
  optional_field(w, "reasoning_parser", or_null(server.reasoning_parser));
  // One process computes it all, with all GPUs that there are.
  w.field("tp_size", o.tp_size)
      .field("dp_size", 1)
      .field("pp_size", 1)
      .field("ep_size", 1)
      .field("disaggregation_mode", "null");
  const int level = service.request_log_level();  // /configure_logging may have changed it
  w.field("enable_metrics", server.enable_metrics).field("log_requests", level >= 0);
  w.field("log_requests_level", level >= 0 ? level : server.log_requests_level);
  w.field("log_level_http", server.log_level_http).field("log_format", server.log_format);
  w.field("ssl_certfile", server.http.tls.certificate_file).field("ssl_keyfile", server.http.tls.key_file);
  w.field("cors_allow_origins", server.cors_allow_origins).field("drain_timeout", server.drain_timeout_s);
  w.field("request_timeout", server.request_timeout_s).field("max_connections", server.http.max_connections);
  w.field("max_body_bytes", server.http.max_body_bytes).field("max_header_bytes", server.http.max_header_bytes);
  w.field("max_url_bytes", server.http.max_url_bytes).field("max_unsent_bytes", server.http.max_unsent_bytes);
  const auto seconds = [](std::chrono::milliseconds t) { return static_cast<double>(t.count()) / 1000; };
  w.field("idle_timeout", seconds(server.http.idle_timeout))
      .field("header_timeout", seconds(server.http.header_timeout));
  w.field("body_timeout", seconds(server.http.body_timeout)).field("write_timeout", seconds(server.http.write_timeout));
}

void write_load(JsonWriter& w, const EngineStats& s) {
  const int64_t pool = pool_tokens(s), used = used_tokens(s);
  w.begin_object().field("dp_rank", 0).field("num_running_reqs", s.running).field("num_waiting_reqs", s.waiting);
  w.field("num_waiting_uncached_tokens", s.waiting_uncached_tokens);
  w.field("num_used_tokens", used).field("num_total_tokens", used).field("max_total_num_tokens", pool);
  w.field("max_running_requests", s.max_running_requests).field("token_usage", share(used, pool));
  w.field("gen_throughput", throughput_now(s)).field("cache_hit_rate", share(s.cached_tokens, s.prompt_tokens));
  w.field("utilization", share(s.running, s.max_running_requests)).end_object();
}

void write_internal_state(JsonWriter& w, const EngineStats& s, const ModelInfo& info) {
  w.begin_object();
  w.field("effective_max_running_requests_per_dp", s.max_running_requests);
  w.field("last_gen_throughput", s.gen_throughput);
  w.key("memory_usage").begin_object();
  w.field("weight", static_cast<double>(info.weight_bytes) / (1 << 30))
      .field("token_capacity", pool_tokens(s))
      .end_object();
  w.field("num_running_reqs", s.running).field("num_waiting_reqs", s.waiting);
  w.field("num_used_tokens", used_tokens(s)).field("num_cached_tokens", s.cached_pages * s.page_size);
  w.field("total_pages", s.total_pages).field("free_pages", s.free_pages).field("cached_pages", s.cached_pages);
  w.field("cached_pages_locked", s.cached_pages_locked).field("page_size", s.page_size);
  w.field("prompt_tokens_total", s.prompt_tokens).field("cached_tokens_total", s.cached_tokens);
  w.field("generation_tokens_total", s.generation_tokens).field("num_requests_total", s.requests);
  w.field("num_aborted_requests_total", s.aborted).field("num_retracted_requests_total", s.retracted);
  w.field("evicted_tokens_total", s.evicted_tokens).field("new_token_ratio", s.new_token_ratio);
  w.field("paused", s.paused).field("steps_total", s.steps);
  w.end_object();
}

// The sections that SGLang can leave out; what this server has of them is in each answer.
void check_sections(std::string_view include) {
  constexpr std::array<std::string_view, 7> kSections = {"core", "memory", "spec", "lora", "disagg", "queues", "all"};
  while (!include.empty()) {
    const size_t end = std::min(include.find(','), include.size());
    const std::string_view name = include.substr(0, end);
    if (std::find(kSections.begin(), kSections.end(), name) == kSections.end()) {
      throw Error(ErrorKind::InvalidArgument,
                  fmt::format("include must be of core, memory, spec, lora, disagg, queues, all, got {}", quote(name)));
    }
    include.remove_prefix(std::min(end + 1, include.size()));
  }
}

HttpResponse prometheus_response(std::string text) {
  return {.status = 200,
          .content_type = "text/plain; version=0.0.4; charset=utf-8",
          .body = std::move(text),
          .headers = {}};
}

}  // namespace

void handle_root(Service& /*service*/, const HttpRequest& /*request*/, const std::shared_ptr<Responder>& responder) {
  responder->respond(text_response(200, "sgl " SGL_VERSION " is running. See /v1/models, /server_info and /health.\n"));
}

void handle_openapi(Service& /*service*/, const HttpRequest& /*request*/, const std::shared_ptr<Responder>& responder) {
  responder->respond(json_response(kOpenApiJson));
}

void handle_models(Service& service, const HttpRequest& /*request*/, const std::shared_ptr<Responder>& responder) {
  const auto engine = service.require_engine();
  std::string body;
  JsonWriter w(body);
  w.begin_object().field("object", "list").key("data").begin_array();
  write_card(w, service, engine->info());
  w.end_array().end_object();
  responder->respond(json_response(std::move(body)));
}

void handle_model(Service& service, const HttpRequest& request, const std::shared_ptr<Responder>& responder) {
  const auto engine = service.require_engine();
  const std::string_view id = std::string_view(request.path).substr(std::string_view("/v1/models/").size());
  std::string body;
  JsonWriter w(body);
  if (id == engine->info().served_model_name) {
    write_card(w, service, engine->info());
    return responder->respond(json_response(std::move(body)));
  }
  w.begin_object().key("error").begin_object();
  w.field("message",
          fmt::format("The model '{}' does not exist; this server has '{}'", id, engine->info().served_model_name));
  w.field("type", "invalid_request_error").field("param", "model").field("code", "model_not_found");
  w.end_object().end_object();
  responder->respond({.status = 404, .content_type = "application/json", .body = std::move(body), .headers = {}});
}

void handle_model_info(Service& service, const HttpRequest& /*request*/, const std::shared_ptr<Responder>& responder) {
  const auto engine = service.require_engine();
  const ModelInfo& info = engine->info();
  const std::string& preferred = service.options().preferred_sampling_params;
  std::string body;
  JsonWriter w(body);
  w.begin_object();
  w.field("model_path", info.model_path).field("served_model_name", info.served_model_name);
  w.field("tokenizer_path", info.tokenizer_path).field("is_generation", info.is_generation);
  optional_field(w, "preferred_sampling_params", or_null(preferred));
  w.field("weight_version", "default").field("load_format", info.load_format);
  optional_field(w, "reasoning_parser", or_null(service.options().reasoning_parser));
  optional_field(w, "tool_call_parser", tool_call_parser(service));
  w.field("disaggregation_mode", "null");
  w.field("has_image_understanding", false)
      .field("has_audio_understanding", false)
      .field("model_type", info.model_type);
  w.key("architectures").begin_array().value(info.architecture).end_array();
  w.field("device", info.device).field("dtype", info.dtype).field("kv_cache_dtype", info.kv_cache_dtype);
  w.field("context_length", info.context_length).field("vocab_size", info.vocab_size);
  if (!info.is_generation) {
    w.field("embedding_size", info.embedding_size).field("is_cross_encoder", info.is_cross_encoder);
  }
  w.field("num_parameters", info.num_parameters).field("weight_bytes", info.weight_bytes);
  w.field("has_chat_template", info.has_chat_template);
  w.end_object();
  responder->respond(json_response(std::move(body)));
}

void handle_server_info(Service& service, const HttpRequest& /*request*/, const std::shared_ptr<Responder>& responder) {
  const auto engine = service.require_engine();
  const EngineStats stats = engine->stats();
  const int64_t pool = pool_tokens(stats);
  // A request for a text needs a token of room for its answer, and the pool a token more.
  const int64_t room = engine->info().is_generation ? 2 : 0;
  const int64_t longest_input = std::max<int64_t>(std::min<int64_t>(engine->info().context_length, pool) - room, 0);
  std::string body;
  JsonWriter w(body);
  w.begin_object();
  write_flags(w, service, engine->options());
  w.field("version", SGL_VERSION).field("status", service.state() == Service::State::Up ? "ready" : "not ready");
  w.field("max_total_num_tokens", pool).field("max_req_input_len", longest_input);
  w.field("startup_time", service.started_at());
  w.key("internal_states").begin_array();
  write_internal_state(w, stats, engine->info());
  w.end_array().end_object();
  responder->respond(json_response(std::move(body)));
}

void handle_loads(Service& service, const HttpRequest& request, const std::shared_ptr<Responder>& responder) {
  const auto engine = service.require_engine();
  const EngineStats stats = engine->stats();
  check_sections(request.query_parameter("include").value_or(""));
  const std::string format = request.query_parameter("format").value_or("json");
  const std::string rank = request.query_parameter("dp_rank").value_or("0");
  if (rank != "0") throw Error(ErrorKind::InvalidArgument, fmt::format("dp_rank must be 0, got {}", quote(rank)));
  std::string body;
  if (format == "prometheus") {
    PrometheusWriter w("sglang:", metrics_labels(engine->info()));
    write_load_metrics(w, stats, service.workers()->num_grammars());
    return responder->respond(prometheus_response(w.text()));
  }
  if (format != "json") {
    throw Error(ErrorKind::InvalidArgument, fmt::format("format must be json or prometheus, got {}", quote(format)));
  }
  JsonWriter w(body);
  w.begin_object().field("timestamp", unix_time()).field("version", SGL_VERSION);
  w.field("accelerator", engine->info().device).field("num_accelerators", 1).key("loads").begin_array();
  write_load(w, stats);
  w.end_array().end_object();
  responder->respond(json_response(std::move(body)));
}

void handle_metrics(Service& service, const HttpRequest& /*request*/, const std::shared_ptr<Responder>& responder) {
  if (service.metrics_or_null() == nullptr) {
    return responder->respond(flat_error(404, "metrics are off; start the server with --enable-metrics"));
  }
  const auto engine = service.require_engine();
  responder->respond(prometheus_response(
      metrics_text(*service.metrics_or_null(), engine->stats(), service.workers()->num_grammars(), engine->info())));
}

}  // namespace sgl
