#include "grammar/json_formats.h"

#include <fmt/format.h>

namespace sgl::grammar {
namespace {

// RFC 3339, section 5.6. The days of each month, and February 29 in leap years alone.
std::string date() {
  return "(?:\\d{4}-(?:(?:0[13578]|1[02])-(?:0[1-9]|[12]\\d|3[01])|(?:0[469]|11)-(?:0[1-9]|[12]\\d|30)|"
         "02-(?:0[1-9]|1\\d|2[0-8]))|(?:\\d\\d(?:0[48]|[2468][048]|[13579][26])|(?:[02468][048]|[13579][26])00)-02-29)";
}

std::string time() {
  return "(?:[01]\\d|2[0-3]):[0-5]\\d:[0-5]\\d(?:\\.\\d+)?(?:[zZ]|[+-](?:[01]\\d|2[0-3]):[0-5]\\d)";
}

// A leap second is inserted at 23:59:60 UTC, so the offset follows from the local time: one expression for the minutes
// and one for the hours, which hold together.
std::vector<std::string> leap_second(const std::string& before) {
  std::string minutes, hours;
  for (int m = 0; m < 60; ++m) {
    minutes += fmt::format("{}\\d\\d:{:02}:60(?:\\.\\d+)?(?:\\+\\d\\d:{:02}|-\\d\\d:{:02})", m > 0 ? "|" : "", m,
                           (m + 1) % 60, 59 - m);
  }
  for (int h = 0; h < 24; ++h) {
    hours += fmt::format(
        "{0}{1:02}:(?:59:60(?:\\.\\d+)?\\+{2:02}:\\d\\d|(?:[0-4]\\d|5[0-8]):60(?:\\.\\d+)?\\+{1:02}:\\d\\d|"
        "[0-5]\\d:60(?:\\.\\d+)?-{3:02}:\\d\\d)",
        h > 0 ? "|" : "", h, (h + 1) % 24, 23 - h);
  }
  return {before + "(?:" + minutes + ")", before + "(?:" + hours + ")"};
}

FormatRegex times(const std::string& before, const std::string& any_before) {
  FormatRegex out = {{before + time()}, {before + "23:59:60(?:\\.\\d+)?[zZ]"}, leap_second(any_before)};
  if (before != any_before) out[2].push_back(before + "[0-9:.+-]*");
  return out;
}

const std::string kOctet = "(?:25[0-5]|2[0-4]\\d|1\\d\\d|[1-9]?\\d)";
std::string ipv4() { return "(?:" + kOctet + "\\.){3}" + kOctet; }

// RFC 4291, section 2.2.
std::string ipv6() {
  const std::string h = "[0-9a-fA-F]{1,4}";
  const std::string tail = "(?:" + h + ":" + h + "|" + ipv4() + ")";
  std::string out = "(?:(?:" + h + ":){6}" + tail;
  out += "|::(?:" + h + ":){5}" + tail;
  for (int after = 4; after >= 0; --after) {  // groups after "::" besides the tail
    int before = 4 - after;
    out += fmt::format("|(?:(?:{0}:){{0,{1}}}{0})?::(?:{0}:){{{2}}}{3}", h, before, after, tail);
  }
  out += fmt::format("|(?:(?:{0}:){{0,5}}{0})?::{0}|(?:(?:{0}:){{0,6}}{0})?::)", h);
  return out;
}

// RFC 1123, section 2.1: labels of up to 63 letters, digits and inner hyphens.
const std::string kLabel = "[0-9A-Za-z](?:[-0-9A-Za-z]{0,61}[0-9A-Za-z])?";
std::string hostname_of_any_length() { return kLabel + "(?:\\." + kLabel + ")*"; }

// RFC 5321, section 4.1.2.
std::string email() {
  const std::string atom = "[-0-9A-Za-z!#$%&'*+/=?^_`{|}~]+";
  const std::string quoted = "\"(?:[ !#-\\[\\]-~]|\\\\[ -~])*\"";
  return "(?:" + atom + "(?:\\." + atom + ")*|" + quoted + ")@(?:" + hostname_of_any_length() + "|\\[(?:" + ipv4() +
         "|IPv6:" + ipv6() + ")\\])";
}

// RFC 3987, section 2.2: what a class of characters has besides those of ASCII.
const std::string kInternational =
    "\\u00A0-\\uD7FF\\uF900-\\uFDCF\\uFDF0-\\uFFEF\\u{10000}-\\u{1FFFD}\\u{20000}-\\u{2FFFD}\\u{30000}-\\u{3FFFD}"
    "\\u{40000}-\\u{4FFFD}\\u{50000}-\\u{5FFFD}\\u{60000}-\\u{6FFFD}\\u{70000}-\\u{7FFFD}\\u{80000}-\\u{8FFFD}"
    "\\u{90000}-\\u{9FFFD}\\u{A0000}-\\u{AFFFD}\\u{B0000}-\\u{BFFFD}\\u{C0000}-\\u{CFFFD}\\u{D0000}-\\u{DFFFD}"
    "\\u{E1000}-\\u{EFFFD}";
const std::string kPrivate = "\\uE000-\\uF8FF\\u{F0000}-\\u{FFFFD}\\u{100000}-\\u{10FFFD}";

// RFC 3986, appendix A; with more unreserved characters, and more in the query, RFC 3987.
struct Uri {
  std::string more, more_in_query;
  std::string pct = "%[0-9a-fA-F]{2}";
  std::string unreserved = "-0-9A-Za-z._~" + more, sub = "!$&'()*+,;=";
  std::string pchar = "(?:[" + unreserved + sub + ":@]|" + pct + ")";
  std::string userinfo = "(?:[" + unreserved + sub + ":]|" + pct + ")*";
  std::string name = "(?:[" + unreserved + sub + "]|" + pct + ")*";
  std::string future = "[vV][0-9a-fA-F]+\\.[-0-9A-Za-z._~" + sub + ":]+";
  std::string host = "(?:\\[(?:" + ipv6() + "|" + future + ")\\]|" + name + ")";
  std::string authority = "(?:" + userinfo + "@)?" + host + "(?::\\d*)?";
  std::string abempty = "(?:/" + pchar + "*)*";
  std::string absolute = "/(?:" + pchar + "+(?:/" + pchar + "*)*)?";
  std::string rootless = pchar + "+(?:/" + pchar + "*)*";
  std::string noscheme = "(?:[" + unreserved + sub + "@]|" + pct + ")+(?:/" + pchar + "*)*";
  std::string tail = "(?:\\?(?:" + pchar + "|[/?" + more_in_query + "])*)?(?:#(?:" + pchar + "|[/?])*)?";

  std::string uri() const {
    return "[A-Za-z][-0-9A-Za-z+.]*:(?://" + authority + abempty + "|" + absolute + "|" + rootless + "|)" + tail;
  }
  std::string reference() const {
    return "(?:" + uri() + "|(?://" + authority + abempty + "|" + absolute + "|" + noscheme + "|)" + tail + ")";
  }
};
Uri iri() { return {kInternational, kPrivate}; }

std::string uri_template() {  // RFC 6570, section 2
  const std::string pct = "%[0-9a-fA-F]{2}", letter = "(?:[0-9A-Za-z_]|" + pct + ")";
  const std::string variable = letter + "(?:\\.?" + letter + ")*(?::[1-9]\\d{0,3}|\\*)?";
  return "(?:[!#$&(-;=?-\\[\\]_a-z~" + kInternational + kPrivate + "]|" + pct + "|\\{[+#./;?&=,!@|]?" + variable +
         "(?:," + variable + ")*\\})*";
}

std::string duration() {  // RFC 3339, appendix A
  const std::string t = "T(?:\\d+H(?:\\d+M(?:\\d+S)?)?|\\d+M(?:\\d+S)?|\\d+S)";
  return "P(?:\\d+W|(?:\\d+Y(?:\\d+M(?:\\d+D)?)?|\\d+M(?:\\d+D)?|\\d+D)(?:" + t + ")?|" + t + ")";
}

std::string json_pointer() { return "(?:/(?:[^~/]|~[01])*)*"; }

FormatRegex make_format(std::string_view name) {
  if (name == "date") return {{date()}};
  if (name == "time") return times("", "");
  if (name == "date-time") return times(date() + "[tT]", "[-0-9]{10}[tT]");
  if (name == "email") return {{email()}};
  if (name == "uuid") return {{"[0-9a-fA-F]{8}(?:-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}"}};
  if (name == "ipv4") return {{ipv4()}};
  if (name == "ipv6") return {{ipv6()}};
  if (name == "uri") return {{Uri().uri()}};
  if (name == "uri-reference") return {{Uri().reference()}};
  if (name == "iri") return {{iri().uri()}};
  if (name == "iri-reference") return {{iri().reference()}};
  if (name == "uri-template") return {{uri_template()}};
  if (name == "hostname") return {{hostname_of_any_length(), "[^]{1,253}"}};
  if (name == "duration") return {{duration()}};
  if (name == "json-pointer") return {{json_pointer()}};
  if (name == "relative-json-pointer") return {{"(?:0|[1-9]\\d*)(?:#|" + json_pointer() + ")"}};
  if (name == "regex") return {{ecma_regex()}};
  return {};
}

}  // namespace

FormatSupport find_format(std::string_view name, FormatRegex& regex) {
  regex = make_format(name);
  if (!regex.empty()) return FormatSupport::Known;
  for (std::string_view standard : {"idn-email", "idn-hostname"}) {
    if (name == standard) return FormatSupport::Unsupported;
  }
  return FormatSupport::Annotation;
}

}  // namespace sgl::grammar
