#include "server/parse_routes.h"

#include <algorithm>
#include <string>
#include <utility>

#include <fmt/format.h>
#include <fmt/ranges.h>

#include "server/answer_parser.h"
#include "server/json_reader.h"
#include "server/json_writer.h"
#include "server/openai_tools.h"

namespace sgl {
namespace {

std::string required_text(const Fields& f) {
  f.require("text", "the text that the model wrote");
  return *f.string("text");
}

}  // namespace

void handle_parse_function_call(Service& service, const HttpRequest& request,
                                const std::shared_ptr<Responder>& responder) {
  const Json body = parse_json(request.body);
  const Fields f(body);
  const std::string text = required_text(f);
  f.require("tools", "an array of tools");
  const std::vector<Tool> tools = read_tool_fields(f).offered;
  const auto name = f.string("tool_call_parser");
  const ToolFormat* format =
      name && *name != "auto" ? find_tool_format(*name) : (service.require_engine(), service.chat_formats().tools);
  if (format == nullptr) {
    throw Error(ErrorKind::InvalidArgument, fmt::format("tool_call_parser must be one of auto, {}, got {}",
                                                        fmt::join(tool_parser_names(), ", "), quote(*name)));
  }
  std::string normal;
  std::vector<std::pair<std::string, std::string>> calls;  // name, arguments
  for (const AnswerPiece& piece : parse_tool_calls(*format, tools, text)) {
    if (piece.kind == AnswerPiece::Kind::Call) {
      calls.emplace_back(piece.text, "");
    } else {
      (piece.kind == AnswerPiece::Kind::Arguments ? calls.back().second : normal) += piece.text;
    }
  }
  std::string out;
  JsonWriter w(out);
  w.begin_object().field("normal_text", normal).key("calls").begin_array();
  for (const auto& call : calls) {
    const auto tool =
        std::find_if(tools.begin(), tools.end(), [&](const Tool& candidate) { return candidate.name == call.first; });
    w.begin_object().field("tool_index", tool - tools.begin()).field("name", call.first);
    w.field("parameters", call.second).end_object();
  }
  w.end_array().end_object();
  responder->respond(json_response(std::move(out)));
}

void handle_separate_reasoning(Service& service, const HttpRequest& request,
                               const std::shared_ptr<Responder>& responder) {
  const Json body = parse_json(request.body);
  const Fields f(body);
  const std::string text = required_text(f);
  const std::string name = f.string("reasoning_parser").value_or(service.options().reasoning_parser);
  auto format = std::make_shared<AnswerFormat>();
  format->reasoning = find_reasoning_tags(name);
  if (!format->reasoning) {
    throw Error(ErrorKind::InvalidArgument,
                fmt::format("reasoning_parser must be one of {}, or two tags: \"<think>,</think>\"; got {}",
                            fmt::join(reasoning_parser_names(), ", "), quote(name)));
  }
  std::vector<AnswerPiece> pieces;
  AnswerParser(format).push(text, true, pieces);
  std::string reasoning, rest;
  for (const AnswerPiece& piece : pieces) {
    (piece.kind == AnswerPiece::Kind::Reasoning ? reasoning : rest) += piece.text;
  }
  std::string out;
  JsonWriter(out).begin_object().field("reasoning_text", reasoning).field("text", rest).end_object();
  responder->respond(json_response(std::move(out)));
}

}  // namespace sgl
