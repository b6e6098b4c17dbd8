#include "text/regex.h"

#define PCRE2_CODE_UNIT_WIDTH 8

#include <fmt/format.h>
#include <pcre2.h>

#include <sgl/error.h>

#include "text/unicode.h"

namespace sgl {

struct Regex::Compiled {
  std::string source;
  pcre2_code* code = nullptr;
  ~Compiled() { pcre2_code_free(code); }
};

Regex::~Regex() = default;
Regex::Regex(Regex&&) noexcept = default;
Regex& Regex::operator=(Regex&&) noexcept = default;

Regex::Regex(std::string_view oniguruma_pattern) : compiled_(std::make_unique<Compiled>()) {
  compiled_->source = oniguruma_pattern;
  std::string pattern = translate_oniguruma(oniguruma_pattern);
  std::unique_ptr<pcre2_compile_context, decltype(&pcre2_compile_context_free)> context(
      pcre2_compile_context_create(nullptr), pcre2_compile_context_free);
  pcre2_set_newline(context.get(), PCRE2_NEWLINE_LF);  // Ruby's '.' stops at \n only
  int error = 0;
  PCRE2_SIZE offset = 0;
  compiled_->code =
      pcre2_compile(reinterpret_cast<PCRE2_SPTR>(pattern.data()), pattern.size(),
                    PCRE2_UTF | PCRE2_UCP | PCRE2_MULTILINE | PCRE2_NEVER_BACKSLASH_C | PCRE2_NO_UTF_CHECK, &error,
                    &offset, context.get());
  if (compiled_->code == nullptr) {
    PCRE2_UCHAR text[256] = {};
    pcre2_get_error_message(error, text, sizeof(text));
    throw Error(ErrorKind::CorruptFile,
                fmt::format("the pattern '{}' cannot be compiled: {} (at {} of '{}')", oniguruma_pattern,
                            reinterpret_cast<const char*>(text), offset, pattern));
  }
  pcre2_jit_compile(compiled_->code, PCRE2_JIT_COMPLETE);  // where there is no JIT, pcre2_match interprets
}

void Regex::for_each_match(std::string_view text, FunctionRef<void(size_t, size_t)> on_match) const {
  std::unique_ptr<pcre2_match_data, decltype(&pcre2_match_data_free)> data(pcre2_match_data_create(1, nullptr),
                                                                           pcre2_match_data_free);
  auto subject = reinterpret_cast<PCRE2_SPTR>(text.data());
  size_t at = 0, last_end = SIZE_MAX;
  while (at <= text.size()) {
    int rc = pcre2_match(compiled_->code, subject, text.size(), at, PCRE2_NO_UTF_CHECK, data.get(), nullptr);
    if (rc == PCRE2_ERROR_JIT_STACKLIMIT) {  // the interpreter keeps its stack on the heap
      rc = pcre2_match(compiled_->code, subject, text.size(), at, PCRE2_NO_UTF_CHECK | PCRE2_NO_JIT, data.get(),
                       nullptr);
    }
    if (rc == PCRE2_ERROR_NOMATCH) return;
    if (rc < 0) {
      throw Error(ErrorKind::InvalidArgument,
                  fmt::format("the tokenizer's pattern '{}' gave up on a text of {} bytes (PCRE2 error {}); shorten it",
                              compiled_->source, text.size(), rc));
    }
    const PCRE2_SIZE* span = pcre2_get_ovector_pointer(data.get());
    size_t begin = span[0], end = span[1];
    if (end > begin) {
      on_match(begin, end);
      at = last_end = end;
      continue;
    }
    if (end != last_end) on_match(begin, end), last_end = end;
    if (end >= text.size()) return;
    at = end + decode_utf8(text, end).size;
  }
}

}  // namespace sgl
