#include "lang/api_client.h"

#include <cstdlib>
#include <mutex>
#include <set>
#include <utility>

#include <fmt/format.h>

#include "base/log.h"

namespace sgl::lang {
namespace {

constexpr size_t kShownBody = 500;

std::vector<std::string> all_headers(std::vector<std::string> headers, const ApiOptions& options) {
  headers.emplace_back("Content-Type: application/json");
  for (const auto& [name, value] : options.headers) headers.push_back(name + ": " + value);
  return headers;
}

Json parse_extra(const std::string& text) {
  if (text.empty()) return Json::object();
  Json extra = Json::parse(text, nullptr, false);
  if (!extra.is_object()) {
    throw Error(ErrorKind::InvalidArgument, "ApiOptions::extra_body must be a JSON object, got " + text);
  }
  return extra;
}

Error server_error(long status, const std::string& body, const std::string& rid) {
  return {ErrorKind::Server, fmt::format("server answered {}: {}", status, error_message(body)),
          static_cast<int>(status), rid};
}

}  // namespace

std::string or_environment(const std::string& given, const char* variable, const std::string& fallback) {
  if (!given.empty()) return given;
  const char* value = std::getenv(variable);
  return value != nullptr && *value != '\0' ? value : fallback;
}

void warn_dropped(const std::string& backend, const char* option) {
  static std::mutex mutex;
  static std::set<std::string> seen;
  std::lock_guard lock(mutex);
  if (seen.insert(backend + option).second) {
    log::warn("the API of {} has no {}: it is not sent (ApiOptions::extra_body can hold what a server takes besides)",
              backend, option);
  }
}

std::string error_message(const std::string& body) {
  const Json json = Json::parse(body, nullptr, false);
  if (json.is_object()) {
    const auto error = json.find("error");
    if (error != json.end() && error->is_string()) return error->get<std::string>();
    const Json& holder = error != json.end() && error->is_object() ? *error : json;
    for (const char* key : {"message", "detail"}) {
      const auto it = holder.find(key);
      if (it != holder.end() && it->is_string()) return it->get<std::string>();
    }
  }
  if (body.empty()) return "(no message)";
  return body.size() <= kShownBody ? body : body.substr(0, kShownBody) + "…";
}

ApiClient::ApiClient(ApiOptions options, std::vector<std::string> headers)
    : http_options_(std::move(options)),
      headers_(all_headers(std::move(headers), http_options_)),
      extra_(parse_extra(http_options_.extra_body)),
      http_(http_options_) {}

HttpCall ApiClient::make_call(const std::string& path, Json* body) const {
  HttpCall call;
  call.url = http_options_.base_url + path;
  call.headers = headers_;
  call.post = body != nullptr;
  if (body != nullptr) {
    body->update(extra_);
    call.body = body->dump(-1, ' ', false, Json::error_handler_t::replace);
  }
  return call;
}

void ApiClient::post(const std::string& path, Json body, std::stop_token stop,
                     std::function<void(Outcome<Json>&&)> done, const std::string& rid) {
  HttpCall call = make_call(path, &body);
  call.stop = std::move(stop);
  http_.send(std::move(call), [done = std::move(done), rid](Outcome<HttpAnswer>&& answer) {
    Outcome<Json> out;
    if (answer.error) {
      out.error = std::move(answer.error);
    } else if (answer.value.status != 200) {
      out.error = server_error(answer.value.status, answer.value.body, rid);
    } else {
      out.value = Json::parse(answer.value.body, nullptr, false);
      if (out.value.is_discarded()) {
        out.error =
            Error(ErrorKind::Server,
                  "server answered 200 with a body that is no JSON: " + error_message(answer.value.body), 200, rid);
      }
    }
    // What a reply lacks shows when it is read.
    try {
      done(std::move(out));
    } catch (const nlohmann::json::exception& error) {
      done({{},
            Error(ErrorKind::Server, fmt::format("server answered 200 in an unexpected form: {}", error.what()), 200,
                  rid)});
    }
  });
}

void ApiClient::stream(const std::string& path, Json body, std::stop_token stop,
                       std::function<void(const Json&)> on_event, std::function<void(Outcome<Json>&&)> done,
                       const std::string& rid) {
  HttpCall call = make_call(path, &body);
  call.stop = std::move(stop);
  auto failed = std::make_shared<std::optional<Error>>();
  call.on_event = [failed, on_event = std::move(on_event), rid](std::string_view data) {
    if (*failed) return;
    const Json event = Json::parse(data, nullptr, false);
    try {
      if (event.is_object() && event.contains("error") && !event["error"].is_null()) {
        *failed =
            Error(ErrorKind::Server, "server broke the stream off: " + error_message(std::string(data)), 200, rid);
      } else if (!event.is_discarded()) {
        on_event(event);
      }
    } catch (const nlohmann::json::exception& error) {
      *failed = Error(ErrorKind::Server, fmt::format("server sent an event in an unexpected form: {}", error.what()),
                      200, rid);
    }
  };
  http_.send(std::move(call), [failed, done = std::move(done), rid](Outcome<HttpAnswer>&& answer) {
    Outcome<Json> out;
    if (answer.error)
      out.error = std::move(answer.error);
    else if (answer.value.status != 200)
      out.error = server_error(answer.value.status, answer.value.body, rid);
    else
      out.error = *failed;
    done(std::move(out));
  });
}

Json ApiClient::fetch(const std::string& path, const std::optional<Json>& body) {
  Json copy = body.value_or(Json());
  const HttpAnswer answer = http_.fetch(make_call(path, body ? &copy : nullptr));
  if (answer.status != 200) throw server_error(answer.status, answer.body, "");
  return Json::parse(answer.body, nullptr, false);
}

HttpAnswer ApiClient::raw(const std::string& path, bool post) {
  HttpCall call = make_call(path, nullptr);
  call.post = post;
  return http_.fetch(std::move(call));
}

}  // namespace sgl::lang
