// A state's calls: generations and choices, what is sent and where the results go.

#include <algorithm>
#include <utility>

#include <fmt/format.h>

#include "lang/options.h"
#include "lang/strand.h"

namespace sgl::lang {
namespace {

/// Number of bytes at the end of `text` that begin a character and lack its rest.
size_t incomplete_tail(std::string_view text) {
  for (size_t back = 1; back <= std::min<size_t>(3, text.size()); ++back) {
    const auto byte = static_cast<unsigned char>(text[text.size() - back]);
    if (byte < 0x80) return 0;
    if (byte < 0xC0) continue;
    const size_t size = byte >= 0xF0 ? 4 : byte >= 0xE0 ? 3 : 2;
    return back < size ? back : 0;
  }
  return 0;
}

}  // namespace

Prompt Strand::prompt() const {
  Prompt out{.text = text_, .messages = {}, .images = images_};
  if (context_->capabilities.chat) out.messages = messages_;
  return out;
}

void Strand::generate(const Op& op, const Gen& gen, Lock& lock) {
  GenOptions options = context_->options_of(gen);
  if (speculate(op, gen, options, lock)) return;
  GenerateCall call{.variable = gen.name, .state = number_, .prompt = prompt(), .options = std::move(options)};
  auto on_done = [self = shared_from_this(), op](Outcome<Generated>&& outcome) {
    self->generated(op, std::move(outcome));
  };
  send_generate(op, std::move(call), std::move(on_done), lock);
}

void Strand::send_generate(const Op& op, GenerateCall call, std::function<void(Outcome<Generated>&&)> on_done,
                           Lock& lock) {
  pending_ = op;
  GenerateSink sink{.on_text = {}, .on_done = std::move(on_done)};
  const auto* gen = std::get_if<Gen>(&op.node->what);
  if (context_->streaming && call.options.n == 1) {
    if (gen != nullptr && gen->reasoning != nullptr) splitter_.emplace(*gen->reasoning);
    sink.on_text = [self = shared_from_this(), op](std::string_view piece) { self->receive_piece(op, piece); };
  }
  launch(
      [self = shared_from_this(), call = std::move(call), sink = std::move(sink)](std::stop_token token) mutable {
        call.stop = std::move(token);
        self->context_->backend->generate(std::move(call), std::move(sink));
      },
      lock);
}

void Strand::receive_piece(const Op& op, std::string_view piece) {
  std::lock_guard lock(mutex_);
  if (error_) return;
  utf8_ += piece;
  const size_t whole = utf8_.size() - incomplete_tail(utf8_);
  std::string text = utf8_.substr(0, whole);
  utf8_.erase(0, whole);
  if (splitter_) text = splitter_->add(text);
  if (text.empty()) return;
  partial_ += text;
  if (op.slot) op.slot->add_piece(text);
  changed_.notify_all();
}

void Strand::generated(const Op& op, Outcome<Generated>&& outcome) {
  {
    Lock lock(mutex_);
    if (error_) return;  // given up meanwhile
    if (outcome.error) {
      fail_locked(*outcome.error, lock);
      return;
    }
    deliver(op, std::get<Gen>(op.node->what), std::move(outcome.value.texts), std::move(outcome.value.meta), lock);
  }
  resume();
}

void Strand::deliver(const Op& op, const Gen& gen, std::vector<std::string> texts, Meta meta, Lock& lock) {
  if (texts.empty()) texts.emplace_back();
  std::string thoughts;
  if (gen.reasoning != nullptr) {
    for (std::string& text : texts) {
      ReasoningSplitter splitter(*gen.reasoning);
      text = splitter.add(text) + splitter.finish();
      if (&text == &texts.front()) thoughts = splitter.reasoning();
    }
  }
  text_ += texts.front();
  partial_.clear();
  utf8_.clear();
  splitter_.reset();
  lock.unlock();
  // Readers of the slot may look at the text, which is there already.
  if (op.thoughts) op.thoughts->finish({thoughts}, {});
  if (op.slot) op.slot->finish(std::move(texts), std::move(meta), std::move(thoughts));
  lock.lock();
}

void Strand::select(Op op, const Select& select, Lock& lock) {
  pending_ = op;
  ScoreCall call{.variable = select.name,
                 .state = number_,
                 .prompt = prompt(),
                 .choices = select.choices.texts,
                 .unconditional = select.method.needs_unconditional};
  launch(
      [self = shared_from_this(), call = std::move(call), op = std::move(op)](std::stop_token token) mutable {
        call.stop = std::move(token);
        self->context_->backend->score(
            std::move(call), [self, op](Outcome<ChoiceScores>&& outcome) { self->selected(op, std::move(outcome)); });
      },
      lock);
}

void Strand::selected(const Op& op, Outcome<ChoiceScores>&& outcome) {
  const Select& select = std::get<Select>(op.node->what);
  Decision decision;
  if (!outcome.error) {
    try {
      decision = select.method.decide(outcome.value);
      if (decision.index >= select.choices.texts.size()) {
        throw Error(ErrorKind::InvalidArgument,
                    fmt::format("{}: the method {} decided for choice {} of {}", call_name("select", select.name),
                                select.method.name, decision.index, select.choices.texts.size()));
      }
    } catch (const Error& error) {
      outcome.error = error;
    } catch (const std::exception& error) {
      outcome.error =
          Error(ErrorKind::Internal, fmt::format("{}: the method {} failed: {}", call_name("select", select.name),
                                                 select.method.name, error.what()));
    }
  }
  {
    Lock lock(mutex_);
    if (error_) return;
    if (outcome.error) {
      fail_locked(*outcome.error, lock);
      return;
    }
    const std::string& chosen = select.choices.texts[decision.index];
    add_text(chosen);
    lock.unlock();
    Meta meta;
    meta.scores = std::move(outcome.value);
    meta.decision = std::move(decision);
    if (op.slot) op.slot->finish({chosen}, std::move(meta), {}, &select.choices);
  }
  resume();
}

}  // namespace sgl::lang
