#include "cli/answer.h"

#include <utility>

#include "sgl/error.h"

namespace sgl::cli {

Answer::Answer(EngineApi& engine, Request request) : engine_(engine) {
  rid_ = engine.submit(std::move(request), [inbox = inbox_](Output&& piece) {
    std::lock_guard lock(inbox->mutex);
    inbox->text += piece.text;
    if (piece.finish.type != FinishReason::Type::Running) inbox->finish = std::move(piece.finish);
    inbox->arrived.notify_one();
  });
}

Answer::~Answer() {
  if (finish_.type == FinishReason::Type::Running) engine_.abort(rid_);
}

std::optional<std::string> Answer::next() {
  while (true) {
    std::optional<std::string> text = next(std::chrono::hours(1));
    if (!text || !text->empty()) return text;
  }
}

std::optional<std::string> Answer::next(std::chrono::milliseconds at_most) {
  std::unique_lock lock(inbox_->mutex);
  inbox_->arrived.wait_for(lock, at_most, [&] { return !inbox_->text.empty() || inbox_->finish; });
  if (!inbox_->text.empty()) return std::exchange(inbox_->text, {});
  if (!inbox_->finish) return std::string();
  finish_ = *inbox_->finish;
  return std::nullopt;
}

void Answer::stop() {
  stopped_ = true;
  engine_.abort(rid_);
}

void Answer::check() const {
  if (finish_.type != FinishReason::Type::Abort || stopped_) return;
  throw Error(finish_.status == 503 ? ErrorKind::Unavailable : ErrorKind::Internal,
              "the answer was broken off: " + finish_.message);
}

}  // namespace sgl::cli
