#pragma once
// The body of an error, in the shape that each kind of route promises.

#include <exception>
#include <string>
#include <string_view>

#include "server/http.h"
#include "sgl/error.h"

namespace sgl {

enum class Dialect {
  OpenAi,  ///< {"object":"error","message","type","param":null,"code"}
  Native,  ///< /generate and control: {"error":{"message"}}; a wrong type {"error":"…"}; from 500 on as OpenAi
};

/// 400, 404, 503 or 500.
int http_status(ErrorKind kind);

/// The flat shape: {"object":"error","message","type","param":null,"code":status}. An empty type is chosen by status.
HttpResponse flat_error(int status, std::string_view message, std::string_view type = "");

HttpResponse error_response(Dialect dialect, int status, std::string_view message);
/// For an exception that a route threw. Anything but an Error is a bug and becomes 500.
HttpResponse error_response(Dialect dialect, const std::exception& error);

/// What an error looks like once a stream has begun: an event, without the [DONE] that follows.
std::string error_event(int status, std::string_view message);

}  // namespace sgl
