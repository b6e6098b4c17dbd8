#include "server/request_log.h"

#include <algorithm>
#include <string_view>

#include "base/log.h"
#include "server/json_writer.h"
#include "server/observed.h"

namespace sgl {
namespace {

constexpr size_t kShort = 2048;

// A prefix of at most `most` bytes that ends with a whole character.
std::string_view cut(std::string_view text, size_t most) {
  if (text.size() <= most) return text;
  while (most > 0 && (static_cast<unsigned char>(text[most]) & 0xc0U) == 0x80) --most;
  return text.substr(0, most);
}

const char* grammar_of(const SamplingParams& s) {
  if (!s.regex.empty()) return "regex";
  if (!s.json_schema.empty()) return "json_schema";
  if (!s.ebnf.empty()) return "ebnf";
  return s.structural_tag.empty() ? nullptr : "structural_tag";
}

std::string describe_sampling(const SamplingParams& s) {
  std::string out;
  JsonWriter w(out);
  w.begin_object();
  if (s.max_new_tokens) w.field("max_new_tokens", *s.max_new_tokens);
  w.field("temperature", s.temperature).field("top_p", s.top_p).field("top_k", s.top_k).field("min_p", s.min_p);
  w.field("frequency_penalty", s.frequency_penalty).field("presence_penalty", s.presence_penalty);
  w.field("repetition_penalty", s.repetition_penalty).field("n", s.n);
  if (s.seed) w.field("sampling_seed", *s.seed);
  if (const char* grammar = grammar_of(s)) w.field("grammar", grammar);
  w.end_object();
  return out;
}

const char* name_of(FinishReason::Type type) {
  switch (type) {
    case FinishReason::Type::Stop:
      return "stop";
    case FinishReason::Type::Length:
      return "length";
    case FinishReason::Type::Abort:
      return "abort";
    case FinishReason::Type::Running:
      break;
  }
  return "running";
}

double milliseconds(RequestLog::Clock::duration d) {
  return static_cast<double>(std::chrono::duration_cast<std::chrono::microseconds>(d).count()) / 1000;
}

}  // namespace

RequestLog::RequestLog(int level, const HttpRequest& request, const std::vector<Request>& requests, size_t samples)
    : level_(level), tag_(request.tag), start_(request.arrived), samples_(samples) {
  log::Fields fields = fields_of(tag_);
  fields.add("path", request.path);
  if (!requests.empty()) fields.add("rid", requests.front().rid);
  fields.add("samples", static_cast<int64_t>(samples)).add("body_bytes", static_cast<int64_t>(request.body.size()));
  if (level_ >= 1 && !requests.empty() && !requests.front().embedding)
    fields.add("sampling", describe_sampling(requests.front().sampling));
  if (level_ >= 2) fields.add("body", cut(request.body, level_ >= 3 ? request.body.size() : kShort));
  log::write(log::Level::info, "request", fields);
}

void RequestLog::piece(size_t number, const Output& piece, Clock::time_point at) {
  Sample& sample = samples_[number];
  if (sample.first == Clock::time_point{}) sample.first = at;
  if (level_ >= 3 || (level_ == 2 && sample.text.size() < kShort)) sample.text += piece.text;
  if (piece.finish.type == FinishReason::Type::Running) return;
  log::Fields fields = fields_of(tag_);
  fields.add("rid", piece.rid).add("sample", static_cast<int64_t>(number));
  fields.add("prompt_tokens", int64_t{piece.prompt_tokens}).add("cached_tokens", int64_t{piece.cached_tokens});
  fields.add("completion_tokens", int64_t{piece.completion_tokens});
  fields.add("finish_reason", name_of(piece.finish.type));
  if (!piece.finish.message.empty()) fields.add("why", piece.finish.message);
  fields.add("queue_ms", static_cast<double>(static_cast<int64_t>(piece.queue_time_s * 1e6)) / 1000);
  if (piece.completion_tokens > 0) fields.add("first_token_ms", milliseconds(sample.first - start_));
  fields.add("ms", milliseconds(Clock::now() - start_));
  if (level_ >= 2) fields.add("text", cut(sample.text, level_ >= 3 ? sample.text.size() : kShort));
  log::write(log::Level::info, "request ended", fields);
}

}  // namespace sgl
