// Where things are in a schema document: $id, $anchor, JSON pointers, and the places that messages name.

#include <fmt/format.h>

#include <sgl/error.h>

#include "grammar/compile.h"
#include "grammar/json_schema.h"
#include "text/unicode.h"

namespace sgl::grammar {
namespace {

using Type = JsonValue::Type;

std::string escape_pointer(std::string_view name) {
  std::string out;
  for (char c : name) {
    if (c == '~') {
      out += "~0";
    } else if (c == '/') {
      out += "~1";
    } else {
      out.push_back(c);
    }
  }
  return out;
}

std::string decode_percent(std::string_view text) {
  std::string out;
  auto hex = [](char c) {
    return c >= '0' && c <= '9' ? c - '0' : (c | 32) >= 'a' && (c | 32) <= 'f' ? (c | 32) - 'a' + 10 : -1;
  };
  for (size_t i = 0; i < text.size(); ++i) {
    if (text[i] == '%' && i + 2 < text.size() && hex(text[i + 1]) >= 0 && hex(text[i + 2]) >= 0) {
      out.push_back(static_cast<char>(hex(text[i + 1]) * 16 + hex(text[i + 2])));
      i += 2;
    } else {
      out.push_back(text[i]);
    }
  }
  return out;
}

// RFC 3986, section 5.2, for references without "..".
std::string join_uri(const std::string& base, const std::string& reference) {
  size_t colon = reference.find(':');
  size_t slash = reference.find_first_of("/?#");
  if (colon != std::string::npos && (slash == std::string::npos || colon < slash)) return reference;
  std::string stem = base.substr(0, base.find('#'));
  if (reference.empty() || reference[0] == '#') return stem + reference;
  size_t scheme = stem.find(':');
  size_t authority = stem.find("//", scheme == std::string::npos ? 0 : scheme);
  size_t path =
      authority == std::string::npos ? (scheme == std::string::npos ? 0 : scheme + 1) : stem.find('/', authority + 2);
  if (reference[0] == '/') return (path == std::string::npos ? stem : stem.substr(0, path)) + reference;
  if (path == std::string::npos) return stem + "/" + reference;
  size_t last = stem.rfind('/');
  if (last == std::string::npos || last < path) return stem.substr(0, path) + reference;
  return stem.substr(0, last + 1) + reference;
}

std::string strip_fragment(std::string uri) {
  if (uri.ends_with('#')) uri.pop_back();
  return uri;
}

}  // namespace

const JsonValue* member_if(const JsonValue& schema, std::string_view name, JsonValue::Type type) {
  const JsonValue* value = schema.find(name);
  return value != nullptr && value->is(type) ? value : nullptr;
}

// Not everything that looks like a schema is one: an enum may hold {"$id": …}. Only places where schemas stand count.
void SchemaCompiler::index(const JsonValue& value, const std::string& outer, const std::string& path, bool is_schema) {
  path_of_[&value] = path;
  std::string base = outer;
  if (is_schema && value.is(Type::Object)) {
    for (std::string_view key : {"$id", "id"}) {
      const JsonValue* id = member_if(value, key, Type::String);
      if (id == nullptr || (key == "id" && id->text.starts_with('#'))) continue;
      base = join_uri(outer, id->text);
      by_uri_.try_emplace(strip_fragment(base), &value);
    }
    for (std::string_view key : {"$anchor", "$dynamicAnchor"}) {
      if (const JsonValue* anchor = member_if(value, key, Type::String)) {
        by_uri_.try_emplace(base.substr(0, base.find('#')) + "#" + anchor->text, &value);
      }
    }
    if (const JsonValue* id = member_if(value, "id", Type::String); id != nullptr && id->text.starts_with('#')) {
      by_uri_.try_emplace(base.substr(0, base.find('#')) + id->text, &value);
    }
  }
  base_of_[&value] = base;
  for (size_t i = 0; i < value.items.size(); ++i) index(value.items[i], base, fmt::format("{}/{}", path, i), is_schema);
  for (const auto& [name, member] : value.members) {
    bool data = is_schema && (name == "enum" || name == "const" || name == "default" || name == "examples");
    bool map = is_schema && (name == "properties" || name == "$defs" || name == "definitions" ||
                             name == "patternProperties" || name == "dependentSchemas" || name == "dependencies");
    if (map && member.is(Type::Object)) {
      path_of_[&member] = path + "/" + name;
      base_of_[&member] = base;
      for (const auto& [key, inner] : member.members) {
        index(inner, base, fmt::format("{}/{}/{}", path, name, escape_pointer(key)), true);
      }
    } else {
      index(member, base, path + "/" + escape_pointer(name), is_schema && !data);
    }
  }
}

const JsonValue* SchemaCompiler::resolve(const JsonValue& schema, const std::string& reference,
                                         std::string_view keyword) {
  auto base = base_of_.find(&schema);
  std::string uri = join_uri(base == base_of_.end() ? "" : base->second, reference);
  size_t hash = uri.find('#');
  std::string document = uri.substr(0, hash);
  std::string fragment = hash == std::string::npos ? "" : decode_percent(uri.substr(hash + 1));
  const JsonValue* target = nullptr;
  if (fragment.empty() || fragment[0] == '/') {
    auto at = by_uri_.find(document);
    if (at != by_uri_.end()) target = at->second;
    if (document.empty()) target = &root_;
    for (size_t i = 0; target != nullptr && i < fragment.size();) {
      size_t end = std::min(fragment.find('/', i + 1), fragment.size());
      std::string name;
      for (size_t k = i + 1; k < end; ++k) {
        if (fragment[k] == '~' && k + 1 < end && (fragment[k + 1] == '0' || fragment[k + 1] == '1')) {
          name.push_back(fragment[++k] == '0' ? '~' : '/');
        } else {
          name.push_back(fragment[k]);
        }
      }
      if (target->is(Type::Array)) {
        size_t index = name.empty() || name.size() > 9 || name.find_first_not_of("0123456789") != std::string::npos
                           ? SIZE_MAX
                           : std::stoul(name);
        target = index < target->items.size() ? &target->items[index] : nullptr;
      } else {
        target = target->find(name);
      }
      i = end;
    }
  } else {
    auto at = by_uri_.find(document + "#" + fragment);
    if (at != by_uri_.end()) target = at->second;
  }
  if (target == nullptr) {
    refuse(schema, keyword, fmt::format("'{}' is not in this document; put what it refers to under $defs", reference));
  }
  return target;
}

std::string SchemaCompiler::place(const JsonValue& schema, std::string_view keyword) const {
  auto at = path_of_.find(&schema);
  std::string path = "#" + (at == path_of_.end() ? std::string() : at->second);
  if (!keyword.empty()) path += "/" + std::string(keyword);
  return path;
}

void SchemaCompiler::refuse(const JsonValue& schema, std::string_view keyword, const std::string& why) const {
  throw Error(ErrorKind::Unsupported,
              fmt::format("JSON Schema: {} at {} cannot be honoured: {}", keyword, place(schema, keyword), why));
}

void SchemaCompiler::malformed(const JsonValue& schema, std::string_view keyword, const std::string& expected) const {
  throw Error(ErrorKind::InvalidArgument,
              fmt::format("JSON Schema: {} at {} must be {}", keyword.empty() ? "what stands" : keyword,
                          place(schema, keyword), expected));
}

TermId compile_json_schema(CharTerms& chars, std::string_view text, const GrammarOptions& options) {
  JsonValue root;
  size_t first = text.find_first_not_of(" \t\r\n"), last = text.find_last_not_of(" \t\r\n");
  std::string_view trimmed = first == std::string_view::npos ? "" : text.substr(first, last - first + 1);
  if (trimmed == "$$ANY$$" || trimmed == "\"$$ANY$$\"") {
    root.type = Type::Boolean;
    root.boolean = true;
  } else {
    root = parse_json_text(text);
  }
  return SchemaCompiler(chars, root, options).compile();
}

}  // namespace sgl::grammar
