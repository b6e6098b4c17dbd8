// The automaton breadth first, chains compressed: an edge carries the text that leads to the next state where there is
// a choice. States beyond the limit are drawn as "…".

#include "grammar/explain.h"

#include <algorithm>
#include <map>
#include <optional>
#include <set>
#include <vector>

#include <fmt/format.h>

namespace sgl::grammar {
namespace {

struct Edge {
  size_t from, to;
  std::string label;
  bool forced = false;  // a chain of single bytes: text that is appended without asking the model
  bool on_sample = false;
};

struct Node {
  StateId state;
  bool accepts = false, expanded = false, on_sample = false;
  size_t level = 0;
};

struct Picture {
  std::vector<Node> nodes;
  std::vector<Edge> edges;
};

std::string show_byte(unsigned byte) {
  if (byte == '\n') return "\\n";
  if (byte == '\t') return "\\t";
  if (byte == '\r') return "\\r";
  if (byte == ' ') return "␣";
  if (byte > 32 && byte < 127) return std::string(1, static_cast<char>(byte));
  return fmt::format("\\x{:02X}", byte);
}

std::string show_set(const ByteSet& set) {
  if (set.count() > 200) {
    std::string out;
    for (unsigned i = 0; i < 0x80; ++i) {
      if (!set[i] && i >= 0x20) out += show_byte(i);
    }
    return out.empty() ? "any" : "any but " + out;
  }
  std::string out;
  for (unsigned i = 0; i < 256; ++i) {
    if (!set[i]) continue;
    unsigned j = i;
    while (j < 255 && set[j + 1]) ++j;
    out += show_byte(i) + (j > i + 1 ? "-" : "") + (j > i ? show_byte(j) : "");
    i = j;
  }
  return set.count() == 1 ? out : "[" + out + "]";
}

Picture draw(Automaton& a, std::string_view sample, size_t most) {
  Picture p;
  std::map<StateId, size_t> index;
  auto node_of = [&](StateId s, size_t level) {
    auto [at, added] = index.try_emplace(s, p.nodes.size());
    if (added) p.nodes.push_back({s, a.accepts(s), false, false, level});
    return at->second;
  };
  node_of(a.start(), 0);
  // States on the sample's way, so that its edges can be marked.
  std::set<StateId> way;
  StateId s = a.start();
  way.insert(s);
  for (char c : sample) {
    s = a.next(s, static_cast<uint8_t>(c));
    if (s == kDead) break;
    way.insert(s);
  }
  for (size_t i = 0; i < p.nodes.size() && i < most; ++i) {
    p.nodes[i].expanded = true;
    p.nodes[i].on_sample = !sample.empty() && way.contains(p.nodes[i].state);
    std::map<StateId, ByteSet> ways;
    for (unsigned byte = 0; byte < 256; ++byte) {
      StateId to = a.next(p.nodes[i].state, static_cast<uint8_t>(byte));
      if (to != kDead) ways[to].set(byte);
    }
    for (const auto& [to, set] : ways) {
      Edge edge{i, 0, show_set(set), false, !sample.empty() && way.contains(p.nodes[i].state) && way.contains(to)};
      StateId end = to;
      for (int byte; (byte = a.forced_byte(end)) >= 0 && edge.label.size() < 200;) {
        edge.label += show_byte(static_cast<unsigned>(byte));
        edge.forced = true;
        end = a.next(end, static_cast<uint8_t>(byte));
      }
      edge.to = node_of(end, p.nodes[i].level + 1);
      p.edges.push_back(std::move(edge));
    }
  }
  return p;
}

// The sample with its forced parts in ⟦ ⟧, and where it stops.
std::string mark_sample(Automaton& a, std::string_view sample) {
  std::string out;
  StateId s = a.start();
  bool forced = false;
  for (size_t i = 0; i <= sample.size(); ++i) {
    bool now = i < sample.size() && a.forced_byte(s) == static_cast<uint8_t>(sample[i]);
    if (now != forced) out += now ? "⟦" : "⟧";
    forced = now;
    if (i == sample.size()) break;
    s = a.next(s, static_cast<uint8_t>(sample[i]));
    if (s == kDead)
      return out + (forced ? "⟧" : "") + fmt::format("  ✗ rejected at byte {}: {}", i, sample.substr(i, 20));
    out.push_back(sample[i]);
  }
  return out + (a.accepts(s) ? "  ✓ accepted" : "  … may go on");
}

std::string escape(std::string_view text, bool xml) {
  std::string out;
  for (char c : text) {
    if (xml && c == '<') {
      out += "&lt;";
    } else if (xml && c == '>') {
      out += "&gt;";
    } else if (xml && c == '&') {
      out += "&amp;";
    } else if (!xml && (c == '"' || c == '\\')) {
      out += std::string("\\") + c;
    } else {
      out.push_back(c);
    }
  }
  return out;
}

// Shortens what is too long for a picture, between characters.
std::string cut(const std::string& label, size_t most) {
  if (label.size() <= most) return label;
  size_t at = most;
  while (at > 0 && (static_cast<unsigned char>(label[at]) & 0xC0) == 0x80) --at;
  return label.substr(0, at) + "…";
}

std::string as_text(const Picture& p) {
  std::string out;
  for (size_t i = 0; i < p.nodes.size(); ++i) {
    const Node& n = p.nodes[i];
    if (!n.expanded) continue;
    out += fmt::format("{}{}{}\n", i == 0 ? "start " : "state ", i, n.accepts ? "  (the text may end here)" : "");
    for (const Edge& e : p.edges) {
      if (e.from != i) continue;
      out += fmt::format("  {} {:<40} → {}{}\n", e.on_sample ? "*" : " ", e.label + (e.forced ? "  (chain)" : ""),
                         p.nodes[e.to].expanded ? std::to_string(e.to) : "…", "");
    }
  }
  return out;
}

std::string as_dot(const Picture& p, std::string_view sample) {
  std::string out =
      "digraph grammar {\n  rankdir=LR;\n  node [shape=circle, fontname=\"sans-serif\"];\n"
      "  edge [fontname=\"monospace\"];\n";
  if (!sample.empty()) out += fmt::format("  label=\"{}\";\n", escape(sample, false));
  for (size_t i = 0; i < p.nodes.size(); ++i) {
    const Node& n = p.nodes[i];
    out += fmt::format("  {} [label=\"{}\"{}{}];\n", i, n.expanded ? std::to_string(i) : "…",
                       n.accepts ? ", shape=doublecircle" : "", n.on_sample ? ", color=\"#c2410c\"" : "");
  }
  for (const Edge& e : p.edges) {
    out += fmt::format("  {} -> {} [label=\"{}\"{}{}];\n", e.from, e.to, escape(cut(e.label, 60), false),
                       e.forced ? ", style=bold" : "", e.on_sample ? ", color=\"#c2410c\"" : "");
  }
  return out + "}\n";
}

// Columns by distance from the start, rows in order of discovery; edges are curves with their label in the middle.
std::string as_svg(const Picture& p, std::string_view sample) {
  constexpr int kColumn = 230, kRow = 70, kRadius = 16, kMargin = 60;
  std::map<size_t, size_t> rows;
  std::vector<std::pair<int, int>> at;
  size_t levels = 0, deepest = 1;
  for (const Node& n : p.nodes) {
    size_t row = rows[n.level]++;
    at.emplace_back(kMargin + static_cast<int>(n.level) * kColumn, kMargin + 30 + static_cast<int>(row) * kRow);
    levels = std::max(levels, n.level + 1);
    deepest = std::max(deepest, row + 1);
  }
  int width = 2 * kMargin + static_cast<int>(levels) * kColumn, height = 2 * kMargin + static_cast<int>(deepest) * kRow;
  std::string out = fmt::format(
      "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{0}\" height=\"{1}\" viewBox=\"0 0 {0} {1}\" "
      "font-family=\"monospace\" font-size=\"11\">\n<defs><marker id=\"a\" viewBox=\"0 0 8 8\" refX=\"8\" refY=\"4\" "
      "markerWidth=\"7\" markerHeight=\"7\" orient=\"auto\"><path d=\"M0 0L8 4L0 8z\"/></marker></defs>\n"
      "<rect width=\"100%\" height=\"100%\" fill=\"white\"/>\n<text x=\"20\" y=\"24\">{2}</text>\n",
      width, height, escape(sample, true));
  for (const Edge& e : p.edges) {
    auto [x1, y1] = at[e.from];
    auto [x2, y2] = at[e.to];
    const char* colour = e.on_sample ? "#c2410c" : "#475569";
    int bend = x2 > x1 ? 0 : -50;  // loops and ways back go above
    int mx = (x1 + x2) / 2, my = (y1 + y2) / 2 + bend;
    if (e.from == e.to) mx += 30;
    out += fmt::format(
        "<path d=\"M{} {}Q{} {} {} {}\" fill=\"none\" stroke=\"{}\" stroke-width=\"{}\" marker-end=\"url(#a)\"/>\n",
        x1 + kRadius, y1, mx, my + bend, x2 - kRadius, y2, colour, e.forced ? 2.5 : 1.0);
    out += fmt::format("<text x=\"{}\" y=\"{}\" fill=\"{}\" text-anchor=\"middle\">{}</text>\n", mx, my - 4, colour,
                       escape(cut(e.label, 30), true));
  }
  for (size_t i = 0; i < p.nodes.size(); ++i) {
    auto [x, y] = at[i];
    const Node& n = p.nodes[i];
    out += fmt::format("<circle cx=\"{}\" cy=\"{}\" r=\"{}\" fill=\"white\" stroke=\"{}\"/>\n", x, y, kRadius,
                       n.on_sample ? "#c2410c" : "#475569");
    if (n.accepts)
      out +=
          fmt::format("<circle cx=\"{}\" cy=\"{}\" r=\"{}\" fill=\"none\" stroke=\"#475569\"/>\n", x, y, kRadius - 3);
    out += fmt::format("<text x=\"{}\" y=\"{}\" text-anchor=\"middle\">{}</text>\n", x, y + 4,
                       n.expanded ? std::to_string(i) : "…");
  }
  return out + "</svg>\n";
}

}  // namespace

std::string explain(const Grammar& grammar, ExplainForm form, std::string_view sample, size_t most_states) {
  Automaton a = grammar.automaton();
  Picture p = draw(a, sample, most_states);
  std::string marked = sample.empty() ? "" : mark_sample(a, sample);
  switch (form) {
    case ExplainForm::Dot:
      return as_dot(p, marked);
    case ExplainForm::Svg:
      return as_svg(p, marked);
    case ExplainForm::Text:
      break;
  }
  std::string out = as_text(p);
  if (!marked.empty()) out += "\nsample, what is forced in ⟦ ⟧:\n  " + marked + "\n";
  return out;
}

}  // namespace sgl::grammar
