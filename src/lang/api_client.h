#pragma once
// What the backends of remote APIs share: an HTTP client that knows the address and the key, JSON in and out, and
// errors that say what the server said.

#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>

#include <nlohmann/json.hpp>

#include "lang/http_client.h"

namespace sgl::lang {

using Json = nlohmann::ordered_json;

/// The first that is not empty: `given`, then the environment's variable, then `fallback`.
std::string or_environment(const std::string& given, const char* variable, const std::string& fallback = "");

/// What a server says went wrong, from a body of any of the shapes that they use.
std::string error_message(const std::string& body);

/// Thread: any.
class ApiClient {
 public:
  /// `headers`: those of every call, besides the options' own. `options.base_url` without a slash at its end.
  ApiClient(ApiOptions options, std::vector<std::string> headers);

  const ApiOptions& options() const { return http_options_; }

  /// Posts `body` (the options' extra_body merged in) to `path`; `done` gets the parsed answer of status 200, or an
  /// Error{Server} with status, the server's message and `rid`. A body that is no JSON is an Error{Server}, too.
  void post(const std::string& path, Json body, std::stop_token stop, std::function<void(Outcome<Json>&&)> done,
            const std::string& rid = "");
  /// The same for a stream: `on_event` gets each event's JSON, `done` the end of it all, its value null. An event with
  /// an "error" member ends the call with that.
  void stream(const std::string& path, Json body, std::stop_token stop, std::function<void(const Json&)> on_event,
              std::function<void(Outcome<Json>&&)> done, const std::string& rid = "");
  /// Waits. Throws the error.
  Json fetch(const std::string& path, const std::optional<Json>& body = std::nullopt);
  /// Waits. The answer's body as it is.
  HttpAnswer raw(const std::string& path, bool post);

 private:
  HttpCall make_call(const std::string& path, Json* body) const;

  const ApiOptions http_options_;
  const std::vector<std::string> headers_;
  Json extra_;
  HttpClient http_;
};

/// For the options that an API has no field for: a warning, once each.
void warn_dropped(const std::string& backend, const char* option);

}  // namespace sgl::lang
