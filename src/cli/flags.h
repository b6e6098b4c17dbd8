#pragma once
// Flags: SGLang's names and meanings, declared once each with the field they set, and read as argparse reads them, so
// that scripts keep working: a unique prefix is enough, "--flag=value" is "--flag value", the last one counts.

#include <cstdint>
#include <functional>
#include <iosfwd>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include <nlohmann/json.hpp>

#include "cli/cli.h"

namespace CLI {
class App;
}

namespace sgl::cli {

/// The flags of one command. Declaring is cheap: nothing is parsed before parse().
class Flags {
 public:
  /// `name`: "serve"; `summary`: what stands at the head of --help, under the usage line.
  Flags(const std::string& name, const std::string& usage, const std::string& summary);
  ~Flags();
  Flags(const Flags&) = delete;
  Flags& operator=(const Flags&) = delete;

  /// Flags that follow belong to this heading of --help.
  Flags& group(const std::string& heading);

  // One flag each. `names`: "--model-path,--model"; `what`: the value's name in --help; `help`: a phrase. A default
  // that --help should show stands in `help`.
  void text(const std::string& names, std::string& to, const std::string& what, const std::string& help);
  void choice(const std::string& names, std::string& to, const std::vector<std::string>& values,
              const std::string& help);
  void toggle(const std::string& names, bool& to, const std::string& help);
  /// `to` may be an optional. Outside of [min, max]: a UsageError that gives both.
  template <typename T>
  void integer(const std::string& names, T& to, int64_t min, int64_t max, const std::string& help) {
    integer_to(
        names, [&to](int64_t n) { to = static_cast<Plain<T>>(n); }, min, max, help);
  }
  template <typename T>
  void number(const std::string& names, T& to, double min, double max, const std::string& help) {
    number_to(
        names, [&to](double x) { to = static_cast<Plain<T>>(x); }, min, max, help);
  }
  /// An argument without a name.
  void positional(const std::string& what, std::optional<std::string>& to, const std::string& help);

  void integer_to(const std::string& names, std::function<void(int64_t)> set, int64_t min, int64_t max,
                  const std::string& help);
  void number_to(const std::string& names, std::function<void(double)> set, double min, double max,
                 const std::string& help);
  void text_to(const std::string& names, const std::function<void(const std::string&)>& set, const std::string& what,
               const std::string& help);
  void texts_to(const std::string& names, const std::function<void(const std::vector<std::string>&)>& set,
                const std::string& what, const std::string& help);  ///< may be given several times

  /// Adds --config FILE, whose flags (config_file.h) count where the command line has none of that name.
  void allow_config();

  /// Sets what the flags name. Returns false when --help was asked for and printed to `out`. Throws UsageError: unknown
  /// flag (with the nearest known one), ambiguous prefix, SGLang's flag that is not supported yet, a value that does
  /// not fit or is missing, an argument too many.
  bool parse(const std::vector<std::string>& arguments, std::ostream& out, int columns);

  /// Text of --help, at most `columns` wide.
  std::string help(int columns) const;

 private:
  template <typename T>
  struct Unwrap {
    using Type = T;
  };
  template <typename T>
  struct Unwrap<std::optional<T>> {
    using Type = T;
  };
  template <typename T>
  using Plain = typename Unwrap<T>::Type;

  std::vector<std::string> expand(const std::vector<std::string>& arguments) const;
  std::vector<std::string> with_config(std::vector<std::string> expanded) const;

  std::string name_, usage_, summary_, group_;
  std::unique_ptr<CLI::App> app_;
};

/// A flag of SGLang's that sgl does not have.
struct ForeignFlag {
  const char* name;
  bool takes_value;
  const char* harmless;  ///< values, '|' between them, that ask for what sgl does anyway: accepted; nullptr: none
};
/// Sorted by name.
const std::vector<ForeignFlag>& foreign_flags();

/// The known name nearest to `name` (Levenshtein), if it is near enough to be meant; else empty.
std::string nearest(const std::string& name, const std::vector<std::string>& known);

// The flags that commands share.
void add_model_flags(Flags& flags, EngineOptions& o);
void add_compute_flags(Flags& flags, EngineOptions& o);
void add_scheduler_flags(Flags& flags, EngineOptions& o);
/// Sampling flags set fields of `params` as the object sampling_params of /generate spells them; those not given stay
/// out of it.
void add_sampling_flags(Flags& flags, nlohmann::ordered_json& params);
void add_log_level(Flags& flags, std::string& level, const std::string& fallback);

}  // namespace sgl::cli
