#include "grammar/step_budget.h"

#include <fmt/format.h>

#include <sgl/error.h>

namespace sgl::grammar {

void StepBudget::refuse() const {
  throw Error(ErrorKind::Unsupported,
              fmt::format("the grammar takes more than {} steps to compile; make it simpler: fewer alternatives that "
                          "are combined with each other, fewer patterns and conditions at one place",
                          most_));
}

}  // namespace sgl::grammar
