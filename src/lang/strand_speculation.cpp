// A state's part in API speculation: which calls it makes and where their texts go.

#include <algorithm>
#include <iterator>
#include <utility>

#include <fmt/format.h>

#include "lang/options.h"
#include "lang/strand.h"

namespace sgl::lang {
namespace {

/// Options that one call for several gens cannot give to each.
GenOptions shared_options(GenOptions options) {
  options.stop = Strings::none();
  options.max_tokens.reset();
  return options;
}

bool same(const GenOptions& a, const GenOptions& b) {
  return a.min_tokens == b.min_tokens && a.n == b.n && a.temperature == b.temperature && a.top_p == b.top_p &&
         a.top_k == b.top_k && a.min_p == b.min_p && a.frequency_penalty == b.frequency_penalty &&
         a.presence_penalty == b.presence_penalty && a.repetition_penalty == b.repetition_penalty &&
         a.stop_token_ids == b.stop_token_ids && a.stop_regex.items() == b.stop_regex.items() && a.regex == b.regex &&
         a.json_schema == b.json_schema && a.ebnf == b.ebnf && a.ignore_eos == b.ignore_eos && a.seed == b.seed;
}

/// Whether a piece of a longer text is what the gen alone would have brought.
bool can_be_cut(const GenOptions& o) {
  return *o.n == 1 && *o.min_tokens == 0 && o.regex.empty() && o.json_schema.empty() && o.ebnf.empty() &&
         o.stop_regex.items().empty() && o.stop_token_ids.empty() && !*o.return_logprob;
}

}  // namespace

/// Serves the gen from the surplus or by a call that brings one; false: it has to be asked for alone.
bool Strand::speculate(const Op& op, const Gen& gen, const GenOptions& options, Lock& lock) {
  if (api_spec_tokens_ == 0 || !context_->capabilities.completion) return false;
  if (!can_be_cut(options)) {
    surplus_.clear();
    return false;
  }
  if (!surplus_.empty() && same(shared_options(options), shared_options(context_->options_of(*surplus_gen_)))) {
    if (std::optional<std::string> text = surplus_.take(options.stop.items(), *options.max_tokens)) {
      deliver(op, gen, {std::move(*text)}, {}, lock);
      return true;
    }
  }
  surplus_.clear();
  surplus_gen_ = std::shared_ptr<const Gen>(op.node, &gen);
  GenerateCall call{.variable = gen.name, .state = number_, .prompt = prompt(), .options = options, .token_ends = true};
  call.options.stop = Strings::none();
  call.options.max_tokens = std::max(*options.max_tokens, api_spec_tokens_);
  const int asked = *call.options.max_tokens;
  auto on_done = [self = shared_from_this(), op, options, asked](Outcome<Generated>&& outcome) {
    if (outcome.error) {
      self->poison(*outcome.error);
      return;
    }
    const Gen& what = std::get<Gen>(op.node->what);
    {
      Lock held(self->mutex_);
      if (self->error_) return;
      const Meta meta = outcome.value.meta;
      self->surplus_.set(std::move(outcome.value), asked);
      if (std::optional<std::string> text = self->surplus_.take(options.stop.items(), *options.max_tokens)) {
        self->deliver(op, what, {std::move(*text)}, meta, held);
      } else {
        // Where the gen ends cannot be told from this text: ask for the gen alone.
        self->surplus_.clear();
        GenerateCall plain{.variable = what.name, .state = self->number_, .prompt = self->prompt(), .options = options};
        self->send_generate(
            op, std::move(plain), [self, op](Outcome<Generated>&& o) { self->generated(op, std::move(o)); }, held);
        return;
      }
    }
    self->resume();
  };
  send_generate(op, std::move(call), std::move(on_done), lock);
  return true;
}

void Strand::send_turn(const std::string& role, int attempt, Lock& lock) {
  const auto is_gen = [](const Op& op) { return std::holds_alternative<Gen>(op.node->what); };
  const auto is_text = [](const Op& op) {
    const auto* text = std::get_if<Text>(&op.node->what);
    return text != nullptr && !text->text.empty();
  };
  const auto first = std::find_if(pattern_.begin(), pattern_.end(), is_gen);
  if (first == pattern_.end()) {  // constants only: no call
    end_turn(role, {}, {}, lock);
    return;
  }
  if (std::none_of(pattern_.begin(), first, is_text) && std::none_of(first + 1, pattern_.end(), is_gen)) {
    // One gen that comes first is one call without speculation, too, and then has its own options.
    plain_turn_ = true;
    pattern_.push_back({make_expr(RoleEnd{role}).nodes()[0], nullptr, nullptr});
    queue_.insert(queue_.begin() + static_cast<std::ptrdiff_t>(head_), std::make_move_iterator(pattern_.begin()),
                  std::make_move_iterator(pattern_.end()));
    pattern_.clear();
    return;
  }
  std::optional<GenOptions> shared;
  for (const Op& op : pattern_) {
    const auto* gen = std::get_if<Gen>(&op.node->what);
    if (gen == nullptr) continue;
    GenOptions options = shared_options(context_->options_of(*gen));
    if (!can_be_cut(options) || (shared && !same(*shared, options))) {
      fail_locked(
          Error(ErrorKind::InvalidArgument,
                fmt::format("{}: with api_spec_tokens the gens of a turn are one call, so they may differ in stop "
                            "and max_tokens only, and none may have n, min_tokens or a constraint",
                            call_name("gen", gen->name))),
          lock);
      return;
    }
    shared = std::move(options);
  }
  GenerateCall call{.variable = {}, .state = number_, .prompt = prompt(), .options = std::move(*shared)};
  call.options.max_tokens = api_spec_tokens_;
  send_generate(
      Op{make_expr(RoleEnd{role}).nodes()[0], nullptr, nullptr}, std::move(call),
      [self = shared_from_this(), role, attempt](Outcome<Generated>&& outcome) {
        self->turn_came(role, attempt, std::move(outcome));
      },
      lock);
}

void Strand::turn_came(const std::string& role, int attempt, Outcome<Generated>&& outcome) {
  {
    Lock lock(mutex_);
    if (error_) return;
    if (outcome.error) {
      fail_locked(*outcome.error, lock);
      return;
    }
    std::vector<PatternPart> parts;
    for (const Op& op : pattern_) {
      if (const auto* text = std::get_if<Text>(&op.node->what); text != nullptr && !text->text.empty()) {
        if (!parts.empty() && !parts.back().is_gen)
          parts.back().text += text->text;
        else
          parts.push_back({.is_gen = false, .text = text->text});
      } else if (const auto* gen = std::get_if<Gen>(&op.node->what)) {
        parts.push_back({.is_gen = true, .text = {}, .stop = context_->options_of(*gen).stop.items()});
      }
    }
    const std::string reply = outcome.value.texts.empty() ? "" : outcome.value.texts[0];
    const bool cut = outcome.value.meta.finish_reason == "length";
    std::optional<std::vector<std::string>> texts = match_pattern(parts, reply, cut);
    if (!texts && attempt < kMostTries) {
      send_turn(role, attempt + 1, lock);
      return;
    }
    if (!texts) {
      fail_locked(
          Error(ErrorKind::Aborted,
                fmt::format("an assistant turn with api_spec_tokens = {}: none of {} replies followed the pattern "
                            "of its constants to its end; show the model examples of it, or turn speculation off. "
                            "The last reply{}: {}",
                            api_spec_tokens_, kMostTries, cut ? ", which that number cut off" : "",
                            reply.substr(0, 200))),
          lock);
      return;
    }
    end_turn(role, std::move(*texts), outcome.value.meta, lock);
    if (error_) return;
  }
  resume();
}

/// Runs the pattern; its gens take `texts`. What is still to come stays where fail_locked() finds it, since the lock is
/// let go on the way.
void Strand::end_turn(const std::string& role, std::vector<std::string> texts, const Meta& meta, Lock& lock) {
  role_.clear();  // the pattern's nodes run as they would elsewhere
  size_t next = 0;
  for (size_t i = 0; i < pattern_.size() && !error_; ++i) {
    Op op = std::move(pattern_[i]);
    pending_ = op;
    if (const auto* gen = std::get_if<Gen>(&op.node->what))
      deliver(op, *gen, {std::move(texts[next++])}, meta, lock);
    else
      step(std::move(op), lock);
  }
  if (error_) return;
  pending_ = {};
  pattern_.clear();
  role_ = role;
  finish_role(role);
}

}  // namespace sgl::lang
