#include "cli/config_file.h"

#include <algorithm>
#include <set>

#include <fmt/format.h>
#include <yaml-cpp/yaml.h>

#include "cli/cli.h"

namespace sgl::cli {
namespace {

[[noreturn]] void refuse(const std::string& path, const YAML::Mark& mark, const std::string& what) {
  throw UsageError(mark.is_null() ? fmt::format("{}: {}", path, what)
                                  : fmt::format("{}:{}: {}", path, mark.line + 1, what));
}

// A toggle is given by its name alone. "true" in quotes is a text.
void append(std::vector<std::string>& out, const std::string& path, const std::string& flag, const YAML::Mark& at,
            const YAML::Node& value) {
  if (value.IsNull()) refuse(path, at, fmt::format("{} has no value; give one or remove the line", flag));
  if (!value.IsScalar())
    refuse(path, value.Mark(), fmt::format("{} must have a text, a number or true or false", flag));
  const bool quoted = value.Tag() == "!";
  const std::string& text = value.Scalar();
  if (!quoted && (text == "false" || text == "False")) return;
  out.push_back(!quoted && (text == "true" || text == "True") ? flag : fmt::format("{}={}", flag, text));
}

}  // namespace

std::vector<std::string> read_config_file(const std::string& path) {
  YAML::Node root;
  try {
    root = YAML::LoadFile(path);
  } catch (const YAML::BadFile&) {
    throw UsageError(fmt::format("--config: cannot read {}", path));
  } catch (const YAML::Exception& e) {
    refuse(path, e.mark, e.msg);
  }
  std::vector<std::string> out;
  if (root.IsNull()) return out;
  if (!root.IsMap()) refuse(path, root.Mark(), "expected a mapping of flags to values");
  std::set<std::string> seen;
  for (const auto& entry : root) {
    if (!entry.first.IsScalar()) refuse(path, entry.first.Mark(), "expected the name of a flag");
    std::string flag = entry.first.Scalar();
    std::replace(flag.begin(), flag.end(), '_', '-');
    flag.insert(0, "--");
    if (!seen.insert(flag).second) refuse(path, entry.first.Mark(), fmt::format("{} is given twice", flag));
    if (flag == "--config") refuse(path, entry.first.Mark(), "a config file cannot name another one");
    if (entry.second.IsSequence()) {
      for (const YAML::Node& value : entry.second) append(out, path, flag, value.Mark(), value);
    } else {
      append(out, path, flag, entry.first.Mark(), entry.second);
    }
  }
  return out;
}

}  // namespace sgl::cli
