#include "server/chat_reply.h"

#include <algorithm>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "server/reasoning_tokens.h"
#include "server/service.h"
#include "server/token_text.h"

namespace sgl {
namespace {

using Kind = AnswerPiece::Kind;

class ChatReply final : public Reply {
 public:
  ChatReply(OpenAiForm form, const std::shared_ptr<const AnswerFormat>& answer, const Tokenizer* tokenizer)
      : form_(std::move(form)), tokenizer_(tokenizer) {
    for (int i = 0; i < form_.n; ++i) {
      choices_.emplace_back(answer);
      if (answer->reasoning && tokenizer_ != nullptr) choices_.back().thought.emplace(*answer->reasoning, *tokenizer_);
    }
    counts_.resize(choices_.size());
  }

  void add(size_t /*request*/, Output&& piece) override {
    const size_t index = static_cast<size_t>(piece.index);
    counts_[index].update(piece);
    Choice& c = choices_[index];
    if (c.thought) {
      c.thought->add(piece.token_ids, piece.replaces);
      counts_[index].reasoning_tokens = std::min(c.thought->count(), piece.completion_tokens);
    }
    std::vector<AnswerPiece> parts;
    c.parser.push(piece.text, piece.finish.type != FinishReason::Type::Running, parts);
    if (form_.stream) {
      add_chunks(index, parts, piece);
      return;
    }
    for (const AnswerPiece& part : parts) c.add(part);
    append_logprobs(c.logprobs, piece);
    c.finish = std::move(piece.finish);
  }

  void take_events(std::string& out) override {
    out += events_;
    events_.clear();
  }

  void take_closing_events(std::string& out) override {
    if (!form_.include_usage) return;
    JsonWriter w = begin_chunk(out);
    w.begin_array().end_array().key("usage");
    write_usage(w, total_usage(counts_, form_.n));
    end_chunk(w, out);
  }

  std::string body() override {
    std::string out;
    JsonWriter w(out);
    w.begin_object().field("id", form_.id).field("object", "chat.completion").field("created", form_.created);
    w.field("model", form_.model).key("choices").begin_array();
    for (size_t i = 0; i < choices_.size(); ++i) {
      const Choice& c = choices_[i];
      w.begin_object().field("index", i).key("message").begin_object();
      w.field("role", "assistant");
      write_text(w, "content", c.text, c.calls.empty());
      write_text(w, "reasoning_content", c.reasoning, false);
      w.key("tool_calls");
      write_calls(w, c.calls);
      w.end_object().key("logprobs");
      write_logprobs(w, c.logprobs);
      write_end(w, c.finish, !c.calls.empty() && !c.parser.call_cut_off());
      w.end_object();
    }
    w.end_array().key("usage");
    write_usage(w, total_usage(counts_, form_.n));
    w.end_object();
    return out;
  }

 private:
  struct Call {
    std::string id, name, arguments;
  };
  struct Choice {
    explicit Choice(std::shared_ptr<const AnswerFormat> answer) : parser(std::move(answer)) {}
    void add(const AnswerPiece& part) {
      switch (part.kind) {
        case Kind::Content:
          text += part.text;
          break;
        case Kind::Reasoning:
          reasoning += part.text;
          break;
        case Kind::Call:
          calls.push_back({call_id(), part.text, ""});
          break;
        case Kind::Arguments:
          calls.back().arguments += part.text;
          break;
      }
    }

    AnswerParser parser;
    std::optional<ReasoningTokens> thought;
    bool role_sent = false;   ///< stream
    bool called_any = false;  ///< stream
    std::string text, reasoning;
    std::vector<Call> calls;
    std::vector<PositionLogprobs> logprobs;
    FinishReason finish;
  };

  static std::string call_id() { return "call_" + random_hex(24); }

  // First the role, then text, last the reason of the end: each in a chunk of its own.
  void add_chunks(size_t index, const std::vector<AnswerPiece>& parts, const Output& piece) {
    Choice& c = choices_[index];
    static const std::vector<PositionLogprobs> kNone;
    if (!c.role_sent) {
      c.role_sent = true;
      chunk(index, [](JsonWriter& w) { w.field("role", "assistant").field("content", ""); }, kNone, {});
    }
    const std::vector<PositionLogprobs>* logprobs = &piece.logprobs;
    for (const AnswerPiece& part : parts) {
      chunk(index, [&](JsonWriter& w) { write_delta(w, part); }, *logprobs, {});
      logprobs = &kNone;
      c.called_any = c.called_any || part.kind == Kind::Call;
    }
    // Text that is held back has its log-probabilities nevertheless.
    if (form_.logprobs && !logprobs->empty()) {
      chunk(index, [](JsonWriter& w) { w.field("content", ""); }, *logprobs, {});
    }
    if (piece.finish.type != FinishReason::Type::Running)
      chunk(
          index, [](JsonWriter&) {}, kNone, piece.finish);
  }

  static void write_delta(JsonWriter& w, const AnswerPiece& part) {
    if (part.kind == Kind::Content || part.kind == Kind::Reasoning) {
      w.field(part.kind == Kind::Content ? "content" : "reasoning_content", part.text);
      return;
    }
    w.key("tool_calls").begin_array().begin_object().field("index", part.call);
    if (part.kind == Kind::Call) {
      w.field("id", call_id()).field("type", "function").key("function").begin_object();
      w.field("name", part.text).field("arguments", "");
    } else {
      w.key("function").begin_object().field("arguments", part.text);
    }
    w.end_object().end_object().end_array();
  }

  template <typename Delta>
  void chunk(size_t index, Delta delta, const std::vector<PositionLogprobs>& logprobs, const FinishReason& finish) {
    JsonWriter w = begin_chunk(events_);
    w.begin_array().begin_object().field("index", index).key("delta").begin_object();
    delta(w);
    w.end_object().key("logprobs");
    if (logprobs.empty()) {
      w.null();
    } else {
      write_logprobs(w, logprobs);
    }
    write_end(w, finish, choices_[index].called_any && !choices_[index].parser.call_cut_off());
    w.end_object().end_array();
    if (form_.continuous_usage) {
      w.key("usage");
      write_usage(w, total_usage(counts_, form_.n));
    } else if (form_.include_usage) {
      w.null_field("usage");
    }
    end_chunk(w, events_);
  }

  static void write_text(JsonWriter& w, std::string_view name, const std::string& text, bool even_if_empty) {
    if (text.empty() && !even_if_empty) {
      w.null_field(name);
    } else {
      w.field(name, text);
    }
  }

  static void write_calls(JsonWriter& w, const std::vector<Call>& calls) {
    if (calls.empty()) {
      w.null();
      return;
    }
    w.begin_array();
    for (const Call& call : calls) {
      w.begin_object().field("id", call.id).field("type", "function").key("function").begin_object();
      w.field("name", call.name).field("arguments", call.arguments).end_object().end_object();
    }
    w.end_array();
  }

  static void write_end(JsonWriter& w, const FinishReason& finish, bool called) {
    w.key("finish_reason");
    if (called && finish.type == FinishReason::Type::Stop) {
      w.value("tool_calls");
    } else {
      write_finish_reason(w, finish);
    }
    w.key("matched_stop");
    write_matched_stop(w, finish);
  }

  // Up to the key "choices".
  JsonWriter begin_chunk(std::string& out) const {
    out += "data: ";
    JsonWriter w(out);
    w.begin_object().field("id", form_.id).field("object", "chat.completion.chunk").field("created", form_.created);
    w.field("model", form_.model).key("choices");
    return w;
  }
  static void end_chunk(JsonWriter& w, std::string& out) {
    w.end_object();
    out += "\n\n";
  }

  void write_token(JsonWriter& w, const TokenLogprob& t) const {
    const std::string text = token_text(tokenizer_, t.id);
    w.field("token", text);
    w.key("logprob");
    if (t.logprob) {
      w.value(*t.logprob);
    } else {
      w.null();
    }
    w.key("bytes").begin_array();
    for (char byte : text) w.value(static_cast<unsigned char>(byte));
    w.end_array();
  }

  void write_logprobs(JsonWriter& w, const std::vector<PositionLogprobs>& positions) const {
    if (!form_.logprobs) {
      w.null();
      return;
    }
    w.begin_object().key("content").begin_array();
    for (const PositionLogprobs& p : positions) {
      w.begin_object();
      write_token(w, p.token);
      w.key("top_logprobs").begin_array();
      for (const TokenLogprob& t : p.top) {
        if (!has_probability(t)) continue;
        w.begin_object();
        write_token(w, t);
        w.end_object();
      }
      w.end_array().end_object();
    }
    w.end_array().null_field("refusal").end_object();
  }

  const OpenAiForm form_;
  const Tokenizer* const tokenizer_;
  std::vector<Choice> choices_;
  std::vector<SampleCounts> counts_;
  std::string events_;
};

}  // namespace

std::unique_ptr<Reply> make_chat_reply(OpenAiForm form, std::shared_ptr<const AnswerFormat> answer,
                                       const Tokenizer* tokenizer) {
  return std::make_unique<ChatReply>(std::move(form), answer, tokenizer);
}

}  // namespace sgl
