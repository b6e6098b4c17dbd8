#pragma once
// A sequence's grammar: which tokens may come next, and which text needs no sampling at all (jump-forward).

#include <atomic>
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
  /// `tokenizer` must outlive this.
  OutputConstraint(const std::shared_ptr<const Grammar>& grammar, const Tokenizer& tokenizer, bool jump_forward);

  /// Takes an output token. False if the grammar does not allow it.
  bool accept(int32_t token) { return matcher_.accept(token); }
  /// Bit i of mask[i / 32]: whether token i may come. Bits beyond the vocabulary are cleared. Returns whether any token
  /// may.
  bool fill_mask(std::vector<uint32_t>& mask, int64_t vocab) const;
  /// The grammar has taken an EOS token: nothing may follow.
  bool ended() const { return matcher_.ended(); }
  /// The text is complete and nothing but its end can follow.
  bool must_end() const { return matcher_.must_end(); }

  /// How the output goes on without sampling: its first `keep` tokens stay, `ids` follow, `text` is new in them.
  struct Jump {
    size_t keep = 0;
    std::vector<int32_t> ids;
    std::string text;
    std::vector<size_t> ends;  ///< for each of ids: how much of `text` stands in it and those before
    size_t respelled = 0;      ///< so many of ids hold text of the tokens that they replace
  };
  /// The forced text behind `output`, all output tokens so far, spelled as the tokenizer does; nothing where no text is
  /// forced, or jump-forward is off. With `keep_tokens` those of the output stay, and the text is spelled by itself.
  /// The grammar takes the text with this call.
  std::optional<Jump> jump(std::span<const int32_t> output, bool keep_tokens = false);

 private:
  std::optional<Jump> spell(std::span<const int32_t> output, std::string text, bool keep_tokens) const;

  GrammarMatcher matcher_;
  std::shared_ptr<const Grammar> grammar_;
  const Tokenizer* tokenizer_;
  bool jump_forward_;
};

/// Makes the constraints of requests. Thread: any.
class ConstraintCompiler {
 public:
  /// `tokenizer` may be null (then every grammar is refused) and must outlive this and the constraints.
  ConstraintCompiler(const Tokenizer* tokenizer, std::vector<int32_t> eos_ids, const EngineOptions& options);

  /// Nothing without a grammar in `sampling`. Compiles on the calling thread unless the grammar is known. Throws
  /// InvalidArgument for more than one grammar or a malformed one, Unsupported for what cannot be honoured.
  std::optional<OutputConstraint> compile(const SamplingParams& sampling);
  /// Whether compile() has something to compile, which may take long.
  bool must_compile(const SamplingParams& sampling) const;

 private:
  std::optional<GrammarSpec> spec_of(const SamplingParams& sampling) const;
  GrammarCompiler& compiler();

  const Tokenizer* tokenizer_;
  std::vector<int32_t> eos_ids_;
  GrammarOptions json_;
  bool jump_forward_;
  std::once_flag made_;  // the vocabulary is made when the first grammar comes: most servers never see one
  std::unique_ptr<GrammarCompiler> compiler_;
  std::atomic<bool> is_made_{false};
};

/// The ids that `text` has in the middle of a text: together they stand for exactly its bytes. Nothing where the
/// tokenizer would change the text, or read a special token in it.
std::optional<std::vector<int32_t>> encode_exactly(const Tokenizer& tokenizer, std::string_view text);

}  // namespace sgl
