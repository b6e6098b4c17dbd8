// The three rules by which select() decides. Upstream's definitions; scores are of the tokens after the prompt.

#include <algorithm>
#include <numeric>

#include "sgl/program_options.h"

namespace sgl::choice {
namespace {

using Matrix = std::vector<std::vector<double>>;

double mean(const std::vector<double>& row) {
  return row.empty() ? 0 : std::accumulate(row.begin(), row.end(), 0.0) / static_cast<double>(row.size());
}

std::vector<double> means(const Matrix& rows) {
  std::vector<double> out;
  for (const std::vector<double>& row : rows) out.push_back(mean(row));
  return out;
}

/// Index of the largest; the first one of equals.
size_t argmax(const std::vector<double>& values) {
  return static_cast<size_t>(std::max_element(values.begin(), values.end()) - values.begin());
}

Decision by_mean(const ChoiceScores& scores) {
  std::vector<double> normalized = means(scores.tokens);
  return {argmax(normalized), {{"normalized_prompt_logprobs", {normalized}}}};
}

Decision greedy(const ChoiceScores& scores) {
  size_t longest = 0;
  for (const std::vector<double>& row : scores.tokens) longest = std::max(longest, row.size());
  Matrix matrix = scores.tokens;
  for (std::vector<double>& row : matrix) row.resize(longest, mean(row));

  std::vector<size_t> left(matrix.size());
  std::iota(left.begin(), left.end(), size_t{0});
  for (size_t column = 0; column < longest && left.size() > 1; ++column) {
    double best = matrix[left[0]][column];
    for (size_t row : left) best = std::max(best, matrix[row][column]);
    std::erase_if(left, [&](size_t row) { return matrix[row][column] != best; });
  }
  return {left.at(0),
          {{"normalized_prompt_logprobs", {means(scores.tokens)}}, {"greedy_logprob_matrix", std::move(matrix)}}};
}

Decision by_gain(const ChoiceScores& scores) {
  std::vector<double> normalized;
  for (size_t i = 0; i < scores.tokens.size(); ++i) {
    std::vector<double> gain = scores.tokens[i];
    for (size_t j = 0; j < gain.size(); ++j) gain[j] -= scores.unconditional.at(i).at(j);
    normalized.push_back(mean(gain));
  }
  return {argmax(normalized),
          {{"normalized_prompt_logprobs", {means(scores.tokens)}},
           {"unconditional_token_logprobs", scores.unconditional},
           {"normalized_unconditional_prompt_logprobs", {normalized}}}};
}

}  // namespace

const ChoiceMethod token_length_normalized{"token_length_normalized", false, by_mean};
const ChoiceMethod greedy_token_selection{"greedy_token_selection", false, greedy};
const ChoiceMethod unconditional_likelihood_normalized{"unconditional_likelihood_normalized", true, by_gain};

}  // namespace sgl::choice
