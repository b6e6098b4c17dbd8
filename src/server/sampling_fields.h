#pragma once
// Sampling parameters as requests spell them. /generate and the OpenAI routes share most names.

#include <cstddef>
#include <initializer_list>
#include <optional>
#include <string>
#include <string_view>

#include "server/json_reader.h"
#include "sgl/engine.h"
#include "sgl/request.h"

namespace sgl {

/// What a request says about its stream, apart from its samples.
struct StreamFields {
  int stream_interval = 1;
};

/// The object `sampling_params` of /generate. An unknown key is a ValidationError that lists the known ones.
SamplingParams read_sampling_params(const Fields& fields, StreamFields& stream);

/// The object that --preferred-sampling-params names; an empty one for an empty text. Throws InvalidArgument, naming
/// the flag, for what read_sampling_params() would not take.
Json read_preferred_sampling(const std::string& text);

/// The sampling fields at the top level of an OpenAI request, SGLang's extra ones included; but for the number of new
/// tokens, which the routes name differently. What is not given comes from `defaults`, the model's generation config,
/// if there are any.
SamplingParams read_openai_sampling(const Fields& fields, const ModelInfo* defaults, StreamFields& stream);

/// Throws InvalidArgument if a call of `prompts` prompts with `n` samples each is out of bounds. Called before anything
/// is made for each of them.
void check_samples(size_t prompts, int n);

/// A number of tokens, ≥ 0: the engine would name the field as /generate does. Of several names the last one given
/// counts.
std::optional<int> read_token_count(const Fields& fields, std::initializer_list<std::string_view> keys);

/// The cache namespace that `extra_key` and `cache_salt` make; empty without them.
std::string read_cache_namespace(const Fields& fields);

/// `priority`: larger ones first, with --enable-priority-scheduling; 0 where a request has none.
int read_priority(const Fields& fields);

/// Throws Unsupported naming the field if it asks for anything.
void refuse_field(const Fields& fields, std::string_view key, std::string_view why);
/// The same if it is there: an empty value may ask for something, too.
void refuse_if_given(const Fields& fields, std::string_view key, std::string_view why);

}  // namespace sgl
