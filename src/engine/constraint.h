#pragma once
// A sequence's grammar: which tokens may come next, and which text needs no sampling at all (jump-forward).

#include <cstdint>
#include <memory>
#include <mutex>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "grammar/grammar.h"
#include "sgl/engine.h"
#include "sgl/request.h"
#include "sgl/tokenizer.h"

namespace sgl {

/// Where one sequence stands in its grammar. Any call may throw Unsupported when the text drives the grammar beyond its
/// limits. Copies are independent. Thread: one at a time.
class OutputConstraint {
 public:
  /// Output is free up to and with `after`; empty: the grammar begins with the output. `tokenizer` must outlive this.
  OutputConstraint(const std::shared_ptr<const Grammar>& grammar, const Tokenizer& tokenizer, bool jump_forward,
                   std::string after = {});

  /// Whether the next token is bound by the grammar.
  bool active() const { return after_.empty(); }
  /// Takes an output token. False if the grammar does not allow it.
  bool accept(int32_t token);
  /// Bit i of mask[i / 32]: whether token i may come. Bits beyond the vocabulary are cleared. Requires: active().
  /// Returns whether any token may.
  bool fill_mask(std::vector<uint32_t>& mask, int64_t vocab) const;
  /// The grammar has taken an EOS token: nothing may follow.
  bool ended() const { return matcher_.ended(); }
  /// The text is complete and nothing but its end can follow.
  bool must_end() const { return active() && matcher_.must_end(); }

  /// How the output goes on without sampling: its first `keep` tokens stay, `ids` follow, `text` is new in them.
  struct Jump {
    size_t keep = 0;
    std::vector<int32_t> ids;
    std::string text;
    std::vector<size_t> ends;  ///< for each of ids: how much of `text` stands in it and those before
  };
  /// The forced text behind `output`, all output tokens so far, spelled as the tokenizer does; nothing where no text is
  /// forced, or jump-forward is off. The grammar takes the text with this call.
  std::optional<Jump> jump(std::span<const int32_t> output);

 private:
  std::optional<Jump> spell(std::span<const int32_t> output, std::string text) const;

  GrammarMatcher matcher_;
  std::shared_ptr<const Grammar> grammar_;
  const Tokenizer* tokenizer_;
  bool jump_forward_;
  std::string after_;  // empty once it has come
  std::string seen_;   // the end of the free text, as long as it may be the beginning of after_
};

/// Makes the constraints of requests. Thread: any.
class ConstraintCompiler {
 public:
  /// `tokenizer` may be null (then every grammar is refused) and must outlive this and the constraints.
  ConstraintCompiler(const Tokenizer* tokenizer, std::vector<int32_t> eos_ids, const EngineOptions& options);

  /// Nothing without a grammar in `sampling`. Compiles on the calling thread unless the grammar is known. Throws
  /// InvalidArgument for more than one grammar or a malformed one, Unsupported for what cannot be honoured.
  std::optional<OutputConstraint> compile(const SamplingParams& sampling);

 private:
  GrammarCompiler& compiler();

  const Tokenizer* tokenizer_;
  std::vector<int32_t> eos_ids_;
  GrammarOptions json_;
  bool jump_forward_;
  std::once_flag made_;  // the vocabulary is made when the first grammar comes: most servers never see one
  std::unique_ptr<GrammarCompiler> compiler_;
};

/// The ids that `text` has in the middle of a text: together they stand for exactly its bytes. Nothing where the
/// tokenizer would change the text, or read a special token in it.
std::optional<std::vector<int32_t>> encode_exactly(const Tokenizer& tokenizer, std::string_view text);

}  // namespace sgl
