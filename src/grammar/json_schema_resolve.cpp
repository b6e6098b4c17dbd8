// Where things are in a schema document: $id, $anchor, JSON pointers, and the places that messages name.

#include <algorithm>

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

// RFC 3986, section 5.2.4: without the segments "." and "..".
std::string without_dots(const std::string& uri) {
  size_t end = std::min(uri.find_first_of("?#"), uri.size());
  size_t authority = uri.find("//");
  size_t path = uri.find('/', authority == std::string::npos || authority > end ? 0 : authority + 2);
  if (path >= end || uri.find("/.") == std::string::npos) return uri;
  std::string out = uri.substr(0, path);
  for (size_t at = path; at < end;) {
    size_t next = std::min(uri.find('/', at + 1), end);
    std::string segment = uri.substr(at, next - at);
    at = next;
    if (segment == "/..") out.erase(std::max(out.rfind('/') == std::string::npos ? 0 : out.rfind('/'), path));
    if (segment != "/." && segment != "/..") {
      out += segment;
    } else if (at == end) {
      out += '/';
    }
  }
  return out + uri.substr(end);
}

// RFC 3986, section 5.2.
std::string merged_uri(const std::string& base, const std::string& reference) {
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

std::string join_uri(const std::string& base, const std::string& reference) {
  size_t first = base.empty() && reference.starts_with("./") ? 2 : 0;
  return without_dots(merged_uri(base, reference.substr(first)));
}

constexpr size_t kLongestName = 80;  // bytes of a name in a message
constexpr size_t kMostNames = 40;    // in the place that a message names

// Its beginning, in whole characters.
std::string shortened(std::string_view name) {
  if (name.size() <= kLongestName) return std::string(name);
  size_t n = kLongestName;
  while (n > 0 && (static_cast<unsigned char>(name[n]) & 0xC0) == 0x80) --n;
  return std::string(name.substr(0, n)) + "…";
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
void SchemaCompiler::index(const JsonValue& value, Where where, bool is_schema) {
  const std::string& outer = *where.base;
  if (is_schema && value.is(Type::Object)) {
    const JsonValue* id = member_if(value, old_draft_ ? "id" : "$id", Type::String);
    const bool anchors = id != nullptr && id->text.starts_with('#');  // as drafts up to 7 write an anchor
    if (id != nullptr && !anchors) {
      where.base = new_base(join_uri(outer, id->text));
      by_uri_.try_emplace(strip_fragment(*where.base), &value);
    }
    for (std::string_view key : {"$anchor", "$dynamicAnchor"}) {
      if (const JsonValue* anchor = member_if(value, key, Type::String)) {
        by_uri_.try_emplace(*new_base(where.base->substr(0, where.base->find('#')) + "#" + anchor->text), &value);
      }
    }
    if (anchors) {
      by_uri_.try_emplace(*new_base(where.base->substr(0, where.base->find('#')) + id->text), &value);
    }
  }
  where_[&value] = where;
  if (draft_3_ && is_schema) {
    for (const char* key : {"disallow", "divisibleBy", "extends"}) {
      if (value.find(key) == nullptr) continue;
      refuse(value, key, "it is draft 3's alone; write not, multipleOf, allOf or $ref, as later drafts have");
    }
    if (member_if(value, "required", Type::Boolean) != nullptr) {
      refuse(value, "required", "it is draft 3's alone; later drafts list the names beside properties");
    }
  }
  if (const JsonValue* rest = is_schema ? value.find("unevaluatedProperties") : nullptr; rest != nullptr) {
    evaluates_ |= std::any_of(value.members.begin(), value.members.end(), [](const auto& m) {
      return m.name == "$ref" || m.name == "allOf" || m.name == "anyOf" || m.name == "oneOf" || m.name == "if" ||
             m.name == "dependentSchemas";
    });
  }
  for (size_t i = 0; i < value.items.size(); ++i) index(value.items[i], {&value, {}, i, where.base}, is_schema);
  for (const auto& [name, member] : value.members) {
    bool data = is_schema && (name == "enum" || name == "const" || name == "default" || name == "examples");
    bool map = is_schema && (name == "properties" || name == "$defs" || name == "definitions" ||
                             name == "patternProperties" || name == "dependentSchemas" || name == "dependencies");
    if (map && member.is(Type::Object)) {
      where_[&member] = {&value, name, 0, where.base};
      for (const auto& [key, inner] : member.members) index(inner, {&member, key, 0, where.base}, true);
    } else {
      index(member, {&value, name, 0, where.base}, is_schema && !data);
    }
  }
}

const std::string* SchemaCompiler::new_base(std::string uri) {
  automaton_.budget().spend(uri.size() / 8 + 1);  // each may be as long as all before it
  return &*bases_.insert(std::move(uri)).first;
}

const JsonValue* SchemaCompiler::resolve(const JsonValue& schema, const std::string& reference,
                                         std::string_view keyword) {
  auto where = where_.find(&schema);
  std::string uri = join_uri(where == where_.end() ? "" : *where->second.base, reference);
  automaton_.budget().spend(uri.size() / 8 + 1);
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
  std::vector<std::string> names;
  if (!keyword.empty()) names.emplace_back(keyword);
  for (auto at = where_.find(&schema); at != where_.end() && at->second.parent != nullptr;
       at = where_.find(at->second.parent)) {
    const Where& w = at->second;
    names.push_back(w.parent->is(Type::Array) ? std::to_string(w.index) : escape_pointer(shortened(w.name)));
  }
  std::string path = "#";
  for (size_t i = names.size(); i-- > 0;) {
    if (names.size() > kMostNames && i == names.size() - kMostNames / 2) {
      path += "/…";
      i = kMostNames / 2;
    } else {
      path += "/" + names[i];
    }
  }
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
  if (text.starts_with("\xEF\xBB\xBF")) text.remove_prefix(3);  // a byte order mark, as some editors write it
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
