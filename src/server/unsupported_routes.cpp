#include "server/unsupported_routes.h"

namespace sgl {
namespace {

constexpr Access kNormal = Access::Normal, kAdmin = Access::Admin;

constexpr std::string_view kOtherDialect = "This dialect is not spoken yet; use /v1/chat/completions.";
constexpr std::string_view kClassify = "Models that classify are not served; cross-encoders' scores are in /v1/rerank.";
constexpr std::string_view kLora = "Adapters (LoRA) are not loaded at run time.";
constexpr std::string_view kWeights = "Weights stay as they were loaded; restart the server with another --model-path.";
constexpr std::string_view kMemory = "Memory is not given back while the server runs; stop the server instead.";
constexpr std::string_view kProfile = "There is no profiler inside; use /metrics, or perf on the process.";

constexpr UnsupportedRoute kRoutes[] = {
    {"/classify", kPost | kPut, kNormal, kClassify},
    {"/v1/classify", kPost, kNormal, kClassify},
    {"/v1/responses", kPost, kNormal, kOtherDialect},
    {"/v1/responses/*", kGet | kPost, kNormal, kOtherDialect},
    {"/v1/messages", kPost, kNormal, kOtherDialect},
    {"/v1/messages/count_tokens", kPost, kNormal, "This dialect is not spoken yet; use /tokenize."},
    {"/v1/audio/transcriptions", kPost, kNormal, "Audio is not understood."},
    {"/v1/realtime", kGet, kNormal, "WebSockets are not spoken; stream from /v1/chat/completions."},
    {"/api/chat", kPost, kNormal, kOtherDialect},
    {"/api/generate", kPost, kNormal, "This dialect is not spoken yet; use /generate."},
    {"/api/show", kPost, kNormal, "This dialect is not spoken yet; use /model_info."},
    {"/api/tags", kGet, kNormal, "This dialect is not spoken yet; use /v1/models."},
    {"/vertex_generate", kPost, kNormal, "This dialect is not spoken; use /generate."},
    {"/start_profile", kGet | kPost, kAdmin, kProfile},
    {"/stop_profile", kGet | kPost, kAdmin, kProfile},
    {"/load_lora_adapter", kPost, kAdmin, kLora},
    {"/unload_lora_adapter", kPost, kAdmin, kLora},
    {"/update_weights_from_disk", kPost, kAdmin, kWeights},
    {"/update_weights_from_tensor", kPost, kAdmin, kWeights},
    {"/update_weights_from_distributed", kPost, kAdmin, kWeights},
    {"/update_weights_from_ipc", kPost, kAdmin, kWeights},
    {"/init_weights_update_group", kPost, kAdmin, kWeights},
    {"/destroy_weights_update_group", kPost, kAdmin, kWeights},
    {"/update_weight_version", kPost, kAdmin, kWeights},
    {"/get_weights_by_name", kGet | kPost, kAdmin, "Weights are not given out; read the model's files."},
    {"/release_memory_occupation", kGet | kPost, kAdmin, kMemory},
    {"/resume_memory_occupation", kGet | kPost, kAdmin, kMemory},
    {"/set_internal_state", kPost, kAdmin, "Settings are fixed at the start; restart the server with other flags."},
    {"/freeze_gc", kGet | kPost, kAdmin, "There is no garbage collector to freeze."},
    {"/slow_down", kGet | kPost, kAdmin, "The server is not slowed down on request; /pause_generation stops it."},
    {"/set_trace_level", kGet | kPost, kAdmin, "Traces have one level: a request's traceparent is in its log lines."},
};

}  // namespace

std::span<const UnsupportedRoute> unsupported_routes() { return kRoutes; }

}  // namespace sgl
