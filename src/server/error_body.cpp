#include "server/error_body.h"

#include <utility>

#include "server/json_reader.h"
#include "server/json_writer.h"

namespace sgl {
namespace {

std::string type_of(int status) {
  switch (status) {
    case 400:
      return "BadRequestError";
    case 404:
      return "NotFoundError";
    case 405:
      return "MethodNotAllowedError";
    case 501:
      return "NotImplementedError";
    default:
      return std::to_string(status);
  }
}

}  // namespace

int http_status(ErrorKind kind) {
  switch (kind) {
    case ErrorKind::InvalidArgument:
    case ErrorKind::Unsupported:
      return 400;
    case ErrorKind::NotFound:
      return 404;
    case ErrorKind::ResourceExhausted:
    case ErrorKind::Unavailable:
      return 503;
    case ErrorKind::CorruptFile:
    case ErrorKind::Internal:
    case ErrorKind::DeviceLost:
    case ErrorKind::WrongType:
    case ErrorKind::Aborted:
    case ErrorKind::Cancelled:
    case ErrorKind::Server:
      break;
  }
  return 500;
}

HttpResponse flat_error(int status, std::string_view message, std::string_view type) {
  HttpResponse out{.status = status, .content_type = "application/json", .body = {}, .headers = {}};
  JsonWriter(out.body)
      .begin_object()
      .field("object", "error")
      .field("message", message)
      .field("type", type.empty() ? type_of(status) : std::string(type))
      .null_field("param")
      .field("code", status)
      .end_object();
  // The queue is full, or another server takes over: both may have changed in a second.
  if (status == 503) out.headers = {{"Retry-After", "1"}};
  return out;
}

HttpResponse error_response(Dialect dialect, int status, std::string_view message) {
  if (dialect == Dialect::OpenAi || status >= 500) return flat_error(status, message);
  HttpResponse out{.status = status, .content_type = "application/json", .body = {}, .headers = {}};
  JsonWriter(out.body).begin_object().key("error").begin_object().field("message", message).end_object().end_object();
  return out;
}

HttpResponse error_response(Dialect dialect, const std::exception& error) {
  if (dynamic_cast<const MalformedJson*>(&error) != nullptr) return flat_error(400, error.what(), "Bad Request");
  if (dynamic_cast<const ValidationError*>(&error) != nullptr) {
    if (dialect == Dialect::OpenAi) return flat_error(400, error.what(), "Bad Request");
    HttpResponse out{.status = 400, .content_type = "application/json", .body = {}, .headers = {}};
    JsonWriter(out.body).begin_object().field("error", error.what()).end_object();
    return out;
  }
  if (const auto* known = dynamic_cast<const Error*>(&error)) {
    return error_response(dialect, http_status(known->kind()), error.what());
  }
  return error_response(dialect, 500, std::string("internal error: ") + error.what());
}

std::string error_event(int status, std::string_view message) {
  std::string out = "data: ";
  JsonWriter(out)
      .begin_object()
      .key("error")
      .begin_object()
      .field("message", message)
      .field("type", status < 500 ? "invalid_request_error" : "server_error")
      .field("code", status)
      .field("retryable", status == 503)
      .end_object()
      .end_object();
  return out + "\n\n";
}

}  // namespace sgl
