#include "cli/batch.h"

#include <algorithm>

#include <fmt/format.h>

#include "server/json_reader.h"
#include "server/native_generate.h"
#include "server/openai_chat.h"
#include "sgl/error.h"

namespace sgl::cli {
namespace {

/// Members of `from` over those of `to`.
void merge(Json& to, const Json& from) {
  for (const auto& [key, value] : from.items()) to[key] = value;
}

}  // namespace

Json with_generation_defaults(const Json& sampling, const ModelInfo& info) {
  Json out = Json::object();
  auto set = [&](const char* key, const auto& value) {
    if (value) out[key] = *value;
  };
  set("temperature", info.temperature);
  set("top_p", info.top_p);
  set("top_k", info.top_k);
  set("min_p", info.min_p);
  set("repetition_penalty", info.repetition_penalty);
  merge(out, sampling);
  return out;
}

Call parse_line(const std::string& line, const Json& sampling, EngineApi& engine) {
  Json body = parse_json(line);
  if (body.is_string()) body = Json{{"text", body}};
  const Fields fields(body);
  auto given = [&](const char* key) { return fields.find(key) != nullptr; };
  int prompts = given("text") + given("prompt") + given("messages") + given("input_ids");
  if (prompts != 1) {
    throw Error(ErrorKind::InvalidArgument,
                fmt::format("exactly one of prompt, text, messages and input_ids must be given, got {}", prompts));
  }
  Json params = given("messages") ? with_generation_defaults(sampling, engine.info()) : sampling;
  if (const Json* own = fields.find("sampling_params")) {
    if (!own->is_object()) {
      throw Error(ErrorKind::InvalidArgument, "sampling_params must be an object, got " + describe(*own));
    }
    merge(params, *own);
  }
  Json native = body;
  native["sampling_params"] = params;
  if (given("prompt")) {
    native["text"] = body["prompt"];
    native.erase("prompt");
  }
  if (given("messages")) {
    Request chat;
    chat.prompt = read_chat_prompt(body);
    native["input_ids"] = engine.tokenize(chat);
    native.erase("messages");
  }
  return parse_generate(native, engine, ServerOptions{});
}

Batch::Batch(EngineApi& engine, Json sampling, size_t max_in_flight, std::function<void(const std::string&)> write)
    : engine_(engine), sampling_(std::move(sampling)), max_in_flight_(max_in_flight), write_(std::move(write)) {}

Batch::~Batch() {
  for (const auto& line : lines_) {
    for (const std::string& rid : line->rids) engine_.abort(rid);
  }
}

void Batch::add(const std::string& text, size_t line_number) {
  // Answers that wait for an earlier line's take memory: they are bounded, too.
  while (in_flight_ >= max_in_flight_ || lines_.size() >= 4 * max_in_flight_) wait_for_pieces();
  auto line = std::make_shared<Line>();
  line->number = line_number;
  lines_.push_back(line);
  try {
    start(line, parse_line(text, sampling_, engine_));
  } catch (const Error& e) {
    for (const std::string& rid : line->rids) engine_.abort(rid);
    in_flight_ -= line->open;
    fail(*line, e.what());
  }
  write_ready();
}

void Batch::start(const std::shared_ptr<Line>& line, Call call) {
  line->reply = std::move(call.reply);
  for (size_t i = 0; i < call.requests.size(); ++i) {
    Request& request = call.requests[i];
    const std::string rid = request.rid;
    const auto samples = static_cast<size_t>(std::max(request.sampling.n, 1));
    submit(std::move(request), [inbox = inbox_, line, i](Output&& output) {
      std::lock_guard lock(inbox->mutex);
      inbox->pieces.push_back({line, i, std::move(output)});
      inbox->arrived.notify_one();
    });
    line->rids.push_back(rid);
    line->open += samples;
    in_flight_ += samples;
  }
  line->started = true;
  complete(*line);
}

/// Engine::submit that waits while its queue is full.
void Batch::submit(Request request, const OutputCallback& callback) {
  while (true) {
    try {
      engine_.submit(request, callback);
      return;
    } catch (const Error& e) {
      if (e.kind() != ErrorKind::ResourceExhausted || in_flight_ == 0) throw;
    }
    wait_for_pieces();
  }
}

void Batch::fail(Line& line, const std::string& message) {
  line.answer = Json{{"error", {{"message", message}, {"line", line.number}}}}.dump(-1, ' ', false,
                                                                                    Json::error_handler_t::replace);
  line.reply.reset();
  count_failure(line);
}

void Batch::wait_for_pieces() {
  std::vector<Piece> pieces;
  {
    std::unique_lock lock(inbox_->mutex);
    inbox_->arrived.wait(lock, [&] { return !inbox_->pieces.empty(); });
    pieces.swap(inbox_->pieces);
  }
  for (Piece& p : pieces) take(std::move(p));
  write_ready();
}

void Batch::take(Piece&& piece) {
  Line& line = *piece.line;
  if (!line.answer.empty()) return;  // it failed while it was being started
  const FinishReason::Type end = piece.output.finish.type;
  line.broken = line.broken || end == FinishReason::Type::Abort;
  line.reply->add(piece.request, std::move(piece.output));
  if (end == FinishReason::Type::Running) return;
  --in_flight_;
  --line.open;
  complete(line);
}

void Batch::complete(Line& line) {
  if (!line.started || line.open > 0) return;
  line.answer = line.reply->body();
  line.reply.reset();
  if (line.broken) count_failure(line);
}

void Batch::count_failure(const Line& line) {
  ++failed_;
  if (!first_failed_line_) first_failed_line_ = line.number;
}

void Batch::write_ready() {
  while (!lines_.empty() && !lines_.front()->answer.empty()) {
    write_(lines_.front()->answer);
    lines_.pop_front();
    ++written_;
  }
}

void Batch::finish() {
  while (!lines_.empty()) wait_for_pieces();
}

}  // namespace sgl::cli
