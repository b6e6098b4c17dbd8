#include "checkpoint/hub_files.h"

#include <algorithm>
#include <charconv>
#include <map>

#include <fmt/format.h>
#include <fmt/ranges.h>

#include "sgl/error.h"

namespace sgl::hub {
namespace {

constexpr size_t kMaxName = 96;  // of an organisation or a repository
constexpr size_t kMaxRevision = 250;
constexpr size_t kMaxListed = 40;  // names in one message
constexpr std::string_view kGguf = ".gguf";

bool is_alnum(char c) { return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9'); }

std::string lower(std::string_view s) {
  std::string out(s);
  for (char& c : out) c = c >= 'A' && c <= 'Z' ? static_cast<char>(c - 'A' + 'a') : c;
  return out;
}

bool is_name(std::string_view s) {
  if (s.empty() || s.size() > kMaxName || s.front() == '.' || s.front() == '-') return false;
  if (s.find("..") != std::string_view::npos) return false;
  return std::all_of(s.begin(), s.end(), [](char c) { return is_alnum(c) || c == '-' || c == '_' || c == '.'; });
}

bool is_revision(std::string_view s) {
  if (s.empty() || s.size() > kMaxRevision || !is_safe_name(s)) return false;
  return std::all_of(s.begin(), s.end(),
                     [](char c) { return is_alnum(c) || std::string_view("-_./").find(c) != std::string_view::npos; });
}

std::string_view base_name(std::string_view path) { return path.substr(path.rfind('/') + 1); }

/// "x-00002-of-00003.gguf" → {"x", 2, 3}.
struct Part {
  std::string stem;
  int number, count;
};

std::optional<Part> split_part(std::string_view name) {
  constexpr std::string_view kPattern = "-00000-of-00000.gguf";
  if (name.size() <= kPattern.size()) return std::nullopt;
  std::string_view tail = name.substr(name.size() - kPattern.size());
  auto number = [&](size_t at) {
    int value = -1;
    std::string_view digits = tail.substr(at, 5);
    auto [end, error] = std::from_chars(digits.data(), digits.data() + 5, value);
    return error == std::errc() && end == digits.data() + 5 ? value : -1;
  };
  Part part{
      .stem = std::string(name.substr(0, name.size() - kPattern.size())), .number = number(1), .count = number(10)};
  bool fits = tail[0] == '-' && tail.substr(6, 4) == "-of-" && lower(tail.substr(15)) == kGguf;
  if (!fits || part.number < 1 || part.count < part.number) return std::nullopt;
  return part;
}

bool contains_part(const std::string& name, const std::string& wanted) {
  auto is_border = [&](size_t i) {
    return i >= name.size() || std::string_view("-./").find(name[i]) != std::string_view::npos;
  };
  for (size_t at = name.find(wanted); at != std::string::npos; at = name.find(wanted, at + 1)) {
    if ((at == 0 || is_border(at - 1)) && is_border(at + wanted.size())) return true;
  }
  return false;
}

std::string list(const std::vector<GgufModel>& models) {
  std::vector<std::string> lines;
  for (const GgufModel& m : models) {
    if (lines.size() == kMaxListed) {
      lines.push_back(fmt::format("… and {} more", models.size() - kMaxListed));
      break;
    }
    lines.push_back(m.files.front());
  }
  return fmt::format("{}", fmt::join(lines, ", "));
}

}  // namespace

bool is_safe_name(std::string_view name) {
  if (name.empty() || name.size() > 1024) return false;
  for (char c : name) {
    auto u = static_cast<unsigned char>(c);
    if (u < 0x20 || u == 0x7f || c == '\\') return false;
  }
  while (true) {
    size_t slash = name.find('/');
    std::string_view part = name.substr(0, slash);
    if (part.empty() || part == "." || part == ".." || part.size() > 255) return false;
    if (part.find(':') != std::string_view::npos) return false;  // a drive or a stream elsewhere
    if (slash == std::string_view::npos) return true;
    name.remove_prefix(slash + 1);
  }
}

std::string printable(std::string_view text) {
  std::string out(text.substr(0, 200));
  for (char& c : out) {
    if (static_cast<unsigned char>(c) < 0x20 || c == 0x7f) c = '?';
  }
  return out;
}

std::optional<HubId> parse_hub_id(std::string_view text) {
  HubId id;
  size_t colon = text.find(':');
  if (colon != std::string_view::npos) {
    id.selector = std::string(text.substr(colon + 1));
    text = text.substr(0, colon);
    if (id.selector.empty() || !is_safe_name(id.selector)) return std::nullopt;
  }
  size_t at = text.find('@');
  if (at != std::string_view::npos) {
    id.revision = std::string(text.substr(at + 1));
    text = text.substr(0, at);
    if (!is_revision(id.revision)) return std::nullopt;
  }
  size_t slash = text.find('/');
  if (slash != std::string_view::npos && !is_name(text.substr(0, slash))) return std::nullopt;
  if (!is_name(text.substr(slash == std::string_view::npos ? 0 : slash + 1))) return std::nullopt;
  std::string end = lower(text);
  if (end.ends_with(kGguf) || end.ends_with(".safetensors") || end.ends_with(".json")) return std::nullopt;
  id.repo = std::string(text);
  return id;
}

std::vector<GgufModel> gguf_models(const std::vector<std::string>& names) {
  std::map<std::string, std::map<int, std::string>> parts;  // stem and count → number → file
  std::map<std::string, GgufModel> models;                  // by first file
  for (const std::string& name : names) {
    std::string base = lower(base_name(name));
    if (!base.ends_with(kGguf) || base.starts_with("mmproj") || base.find("imatrix") != std::string::npos) continue;
    if (std::optional<Part> part = split_part(name)) {
      auto& files = parts[fmt::format("{}\n{}", part->stem, part->count)];
      files[part->number] = name;
      if (static_cast<int>(files.size()) == part->count) {
        GgufModel model;
        for (auto& [number, file] : files) model.files.push_back(file);
        models[model.files.front()] = model;
      }
    } else {
      models[name] = GgufModel{.files = {name}};
    }
  }
  std::vector<GgufModel> out;
  for (auto& [name, model] : models) out.push_back(std::move(model));
  return out;
}

GgufModel choose_gguf(const std::vector<std::string>& names, std::string_view selector, const std::string& where) {
  std::vector<GgufModel> models = gguf_models(names);
  if (models.empty()) throw Error(ErrorKind::NotFound, fmt::format("{} has no .gguf model", where));
  if (selector.empty()) {
    if (models.size() == 1) return models[0];
    throw Error(ErrorKind::InvalidArgument,
                fmt::format("{} has {} GGUF models; add ':' and a part of one's name, as in ':Q4_K_M': {}", where,
                            models.size(), list(models)));
  }
  std::string wanted = lower(selector);
  std::vector<GgufModel> found;
  for (const GgufModel& m : models) {
    std::string name = lower(m.files.front());
    std::string base(base_name(name));
    if (name == wanted || base == wanted || base == wanted + std::string(kGguf)) return m;
    if (contains_part(name, wanted)) found.push_back(m);
  }
  if (found.size() == 1) return found[0];
  if (found.empty()) {
    throw Error(ErrorKind::NotFound,
                fmt::format("{} has no GGUF model '{}'; it has: {}", where, selector, list(models)));
  }
  throw Error(ErrorKind::InvalidArgument,
              fmt::format("'{}' fits {} GGUF models of {}; name one: {}", selector, found.size(), where, list(found)));
}

bool is_side_file(std::string_view name) {
  // sentence-transformers' modules: "1_Pooling/config.json".
  if (const size_t slash = name.find('/'); slash != std::string_view::npos) {
    return name[0] >= '0' && name[0] <= '9' && name.find('_') < slash && name.substr(slash) == "/config.json";
  }
  if (name == "tokenizer.model" || name.ends_with(".jinja")) return true;
  // Indexes of other frameworks' weights say nothing here.
  return name.ends_with(".json") && !name.ends_with(".bin.index.json") && !name.ends_with(".h5.index.json") &&
         !name.ends_with(".msgpack.index.json");
}

std::vector<std::string> safetensors_without_index(const std::vector<std::string>& names) {
  std::vector<std::string> main, duplicates;
  for (const std::string& name : names) {
    if (name == "model.safetensors") return {name};
    if (name.find('/') != std::string::npos || !name.ends_with(".safetensors")) continue;
    (name.starts_with("consolidated") ? duplicates : main).push_back(name);
  }
  return main.empty() ? duplicates : main;
}

bool are_one_model(const std::vector<std::string>& safetensors) {
  std::vector<std::string> as_gguf;
  for (const std::string& name : safetensors) as_gguf.push_back(name.substr(0, name.rfind('.')) + std::string(kGguf));
  const std::vector<GgufModel> models = gguf_models(as_gguf);
  return models.size() == 1 && models[0].files.size() == safetensors.size();
}

}  // namespace sgl::hub
