#include "cli/flags.h"

#include <algorithm>
#include <charconv>
#include <cmath>
#include <limits>
#include <ostream>
#include <set>
#include <sstream>
#include <utility>

#include <CLI/CLI.hpp>
#include <fmt/format.h>
#include <fmt/ranges.h>

#include "cli/config_file.h"

namespace sgl::cli {
namespace {

constexpr size_t kHelpColumn = 30;  // where descriptions begin

/// `text` cut at spaces into lines of at most `width` bytes.
std::vector<std::string> wrap(const std::string& text, size_t width) {
  std::vector<std::string> lines(1);
  std::istringstream words(text);
  for (std::string word; words >> word;) {
    if (!lines.back().empty() && lines.back().size() + 1 + word.size() > width) lines.emplace_back();
    if (!lines.back().empty()) lines.back() += ' ';
    lines.back() += word;
  }
  return lines;
}

std::string display_name(const CLI::Option& o) {
  if (o.get_positional()) return o.get_type_name();
  std::vector<std::string> names;
  for (const std::string& s : o.get_snames()) names.push_back("-" + s);
  for (const std::string& l : o.get_lnames()) names.push_back("--" + l);
  std::string out = fmt::format("{}", fmt::join(names, ", "));
  if (o.get_items_expected_min() > 0) out += " " + o.get_type_name();
  return out;
}

bool takes_value(const CLI::Option& o) { return o.get_items_expected_min() > 0; }

[[noreturn]] void bad_value(const std::string& names, const std::string& expected, const std::string& got) {
  throw UsageError(fmt::format("{}: expected {}, got '{}'", names.substr(0, names.find(',')), expected, got));
}

/// The smallest positive number stands for "more than 0".
std::string range(double min, double max) {
  const bool open = min == std::numeric_limits<double>::min();
  if (std::isinf(max)) return fmt::format(" of at least {}", min);
  return fmt::format(" in {}{}, {}]", open ? "(" : "[", open ? 0 : min, max);
}

std::string range(int64_t min, int64_t max) {
  if (max == std::numeric_limits<int64_t>::max() || max == std::numeric_limits<int>::max()) {
    return fmt::format(" of at least {}", min);
  }
  return fmt::format(" in [{}, {}]", min, max);
}

/// A name on the command line, resolved.
struct Match {
  const CLI::Option* option = nullptr;  ///< ours
  const ForeignFlag* foreign = nullptr;
  std::string name;  ///< in full, with dashes
};

}  // namespace

Flags::Flags(const std::string& name, const std::string& usage, const std::string& summary)
    : name_(name), usage_(usage), summary_(summary), app_(std::make_unique<CLI::App>(summary, "sgl " + name)) {
  app_->set_help_flag("");
  app_->option_defaults()->multi_option_policy(CLI::MultiOptionPolicy::TakeLast);
}

Flags::~Flags() = default;

Flags& Flags::group(const std::string& heading) {
  group_ = heading;
  return *this;
}

void Flags::text_to(const std::string& names, const std::function<void(const std::string&)>& set,
                    const std::string& what, const std::string& help) {
  app_->add_option_function<std::string>(names, set, help)->type_name(what)->group(group_);
}

void Flags::text(const std::string& names, std::string& to, const std::string& what, const std::string& help) {
  text_to(
      names, [&to](const std::string& s) { to = s; }, what, help);
}

void Flags::texts_to(const std::string& names, const std::function<void(const std::vector<std::string>&)>& set,
                     const std::string& what, const std::string& help) {
  app_->add_option_function<std::vector<std::string>>(names, set, help)
      ->type_name(what)
      ->group(group_)
      ->allow_extra_args(false)
      ->multi_option_policy(CLI::MultiOptionPolicy::TakeAll);
}

void Flags::choice(const std::string& names, std::string& to, const std::vector<std::string>& values,
                   const std::string& help) {
  auto set = [&to, names, values](const std::string& s) {
    if (std::find(values.begin(), values.end(), s) == values.end()) {
      bad_value(names, fmt::format("one of {}", fmt::join(values, ", ")), s);
    }
    to = s;
  };
  text_to(names, set, fmt::format("{}", fmt::join(values, "|")), help);
}

void Flags::toggle(const std::string& names, bool& to, const std::string& help) {
  app_->add_flag(names, to, help)->group(group_);
}

void Flags::integer_to(const std::string& names, std::function<void(int64_t)> set, int64_t min, int64_t max,
                       const std::string& help) {
  auto parse = [=, set = std::move(set)](const std::string& s) {
    int64_t n = 0;
    auto [end, error] = std::from_chars(s.data(), s.data() + s.size(), n);
    if (error != std::errc() || end != s.data() + s.size() || n < min || n > max) {
      bad_value(names, "an integer" + range(min, max), s);
    }
    set(n);
  };
  text_to(names, parse, "N", help);
}

void Flags::number_to(const std::string& names, std::function<void(double)> set, double min, double max,
                      const std::string& help) {
  auto parse = [=, set = std::move(set)](const std::string& s) {
    double x = 0;
    auto [end, error] = std::from_chars(s.data(), s.data() + s.size(), x);
    if (error != std::errc() || end != s.data() + s.size() || !(x >= min && x <= max)) {
      bad_value(names, "a number" + range(min, max), s);
    }
    set(x);
  };
  text_to(names, parse, "X", help);
}

void Flags::positional(const std::string& what, std::optional<std::string>& to, const std::string& help) {
  app_->add_option_function<std::string>(
          what, [&to](const std::string& s) { to = s; }, help)
      ->type_name(what)
      ->group(group_);
}

std::string Flags::help(int columns) const {
  const auto width = static_cast<size_t>(std::max(columns, 60));
  std::string out = fmt::format("usage: {}\n\n", usage_);
  for (const std::string& line : wrap(summary_, width)) out += line + "\n";
  std::string heading;
  for (const CLI::Option* o : app_->get_options()) {
    if (o->get_group() != heading) {
      heading = o->get_group();
      out += fmt::format("\n{}:\n", heading);
    }
    std::string head = "  " + display_name(*o);
    std::vector<std::string> lines = wrap(o->get_description(), width - kHelpColumn);
    size_t first = 0;
    if (head.size() + 2 <= kHelpColumn) {
      out += fmt::format("{:{}}{}\n", head, kHelpColumn, lines[0]);
      first = 1;
    } else {
      out += head + "\n";
    }
    for (size_t i = first; i < lines.size(); ++i) out += std::string(kHelpColumn, ' ') + lines[i] + "\n";
  }
  if (heading != "Other") out += "\nOther:\n";
  out += fmt::format("  {:{}}this text\n", "-h, --help", kHelpColumn - 2);
  out += "\n";
  for (const std::string& line :
       wrap("A unique prefix of a flag's name is enough; --flag=value is --flag value; the last one "
            "counts.",
            width)) {
    out += line + "\n";
  }
  return out;
}

namespace {

/// Finds the flag that `name` ("--x") is, or is the only one to begin with. Throws UsageError.
Match find_flag(const CLI::App& app, const std::string& name, const std::string& command) {
  std::vector<Match> all;
  for (const CLI::Option* o : app.get_options()) {
    for (const std::string& l : o->get_lnames()) all.push_back({.option = o, .foreign = nullptr, .name = "--" + l});
    for (const std::string& c : o->get_snames()) all.push_back({.option = o, .foreign = nullptr, .name = "-" + c});
  }
  for (const ForeignFlag& f : foreign_flags()) all.push_back({.option = nullptr, .foreign = &f, .name = f.name});
  std::vector<Match> found;
  std::vector<std::string> names;
  for (const Match& m : all) {
    if (m.name == name) return m;
    names.push_back(m.name);
    if (!m.name.starts_with(name)) continue;
    // Two names of one flag are one flag.
    bool same = !found.empty() && m.option != nullptr && found.back().option == m.option;
    if (!same) found.push_back(m);
  }
  if (found.size() == 1 && name.size() > 2) return found[0];
  if (found.size() > 1 && name.size() > 2) {
    std::vector<std::string> candidates;
    for (const Match& m : found) candidates.push_back(m.name);
    throw UsageError(fmt::format("{} is ambiguous: it could be {}", name, fmt::join(candidates, ", ")));
  }
  std::string near = nearest(name, names);
  throw UsageError(fmt::format("unknown flag {}{}; sgl {} --help lists the flags", name,
                               near.empty() ? "" : fmt::format(", did you mean {}?", near), command));
}

bool is_harmless(const ForeignFlag& flag, const std::string& value) {
  if (flag.harmless == nullptr) return false;
  if (!flag.takes_value) return true;
  return fmt::format("|{}|", flag.harmless).find(fmt::format("|{}|", value)) != std::string::npos;
}

}  // namespace

/// Full names for prefixes, SGLang's foreign flags taken out. What is left is for CLI11.
std::vector<std::string> Flags::expand(const std::vector<std::string>& arguments) const {
  std::vector<std::string> out;
  for (size_t i = 0; i < arguments.size(); ++i) {
    const std::string& argument = arguments[i];
    if (argument == "--") {
      out.insert(out.end(), arguments.begin() + static_cast<std::ptrdiff_t>(i), arguments.end());
      return out;
    }
    if (!argument.starts_with('-') || argument == "-") {
      out.push_back(argument);
      continue;
    }
    size_t equals = argument.find('=');
    Match m = find_flag(*app_, argument.substr(0, equals), name_);
    const bool wants = m.option != nullptr ? takes_value(*m.option) : m.foreign->takes_value;
    std::optional<std::string> value;
    if (equals != std::string::npos) value = argument.substr(equals + 1);
    if (value && !wants) throw UsageError(fmt::format("{} takes no value, got '{}'", m.name, *value));
    if (wants && !value) {
      if (i + 1 == arguments.size()) throw UsageError(fmt::format("{} needs a value", m.name));
      value = arguments[++i];
    }
    if (m.option != nullptr) {
      out.push_back(m.name);
      if (value)
        out.push_back(*value);  // CLI11 takes the word after a flag that needs a value, whatever it begins with
    } else if (!is_harmless(*m.foreign, value.value_or(""))) {
      throw UsageError(
          fmt::format("{}{} is not supported yet (it is one of SGLang's flags); sgl {} --help lists those "
                      "that are",
                      m.name, value ? " " + *value : "", name_));
    }
  }
  return out;
}

void Flags::allow_config() {
  group("Other");
  // with_config() reads the file; here the flag only has its place in --help.
  text_to(
      "--config", [](const std::string&) {}, "FILE",
      "YAML: flags without their dashes, as keys; the command line wins");
}

/// The flags of the file that --config names, then `expanded`: of one flag the last counts.
std::vector<std::string> Flags::with_config(std::vector<std::string> expanded) const {
  std::string path;
  for (size_t i = 0; i + 1 < expanded.size() && expanded[i] != "--"; ++i) {
    const CLI::Option* option = app_->get_option_no_throw(expanded[i]);
    if (option == nullptr || !takes_value(*option)) continue;
    if (expanded[i++] == "--config") path = expanded[i];
  }
  if (path.empty()) return expanded;
  std::vector<std::string> out;
  std::set<const CLI::Option*> seen;
  try {
    // One by one, so that a flag without its value does not take the next one for it.
    for (const std::string& argument : read_config_file(path)) {
      std::vector<std::string> words = expand({argument});
      if (words.empty()) continue;
      const CLI::Option* option = app_->get_option_no_throw(words[0]);
      if (option != nullptr && option->get_multi_option_policy() != CLI::MultiOptionPolicy::TakeAll &&
          !seen.insert(option).second) {
        throw UsageError(fmt::format("{} has several values, and takes one", words[0]));
      }
      for (std::string& word : words) out.push_back(std::move(word));
    }
  } catch (const UsageError& e) {
    const std::string what = e.what();
    throw UsageError(what.find(path) == std::string::npos ? fmt::format("{}: {}", path, what) : what);
  }
  out.insert(out.end(), expanded.begin(), expanded.end());
  return out;
}

bool Flags::parse(const std::vector<std::string>& arguments, std::ostream& out, int columns) {
  for (const std::string& a : arguments) {
    if (a == "--") break;
    if (a == "-h" || a == "--help") {
      out << help(columns);
      return false;
    }
  }
  std::vector<std::string> expanded = with_config(expand(arguments));
  std::reverse(expanded.begin(), expanded.end());  // CLI11 takes them from the back
  try {
    app_->parse(expanded);
  } catch (const CLI::ExtrasError&) {
    std::vector<std::string> left = app_->remaining();
    std::erase(left, "--");
    throw UsageError(
        fmt::format("unexpected argument '{}'; sgl {} --help shows the usage", left.empty() ? "" : left[0], name_));
  } catch (const CLI::ParseError& e) {
    throw UsageError(e.what());
  }
  return true;
}

std::string nearest(const std::string& name, const std::vector<std::string>& known) {
  std::string best;
  size_t best_distance = std::max<size_t>(2, name.size() / 3) + 1;
  for (const std::string& other : known) {
    std::vector<size_t> row(other.size() + 1);  // edits from a prefix of name to each prefix of other
    for (size_t j = 0; j <= other.size(); ++j) row[j] = j;
    for (size_t i = 1; i <= name.size(); ++i) {
      size_t diagonal = std::exchange(row[0], i);
      for (size_t j = 1; j <= other.size(); ++j) {
        size_t replaced = diagonal + (name[i - 1] == other[j - 1] ? 0 : 1);
        diagonal = row[j];
        row[j] = std::min({replaced, row[j] + 1, row[j - 1] + 1});
      }
    }
    if (row.back() < best_distance) {
      best_distance = row.back();
      best = other;
    }
  }
  return best;
}

}  // namespace sgl::cli
