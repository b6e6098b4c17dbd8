#include "checkpoint/hub_guard.h"

#include <algorithm>
#include <cstdlib>
#include <memory>
#include <string_view>
#include <vector>

namespace sgl::hub {
namespace {

constexpr int kDefaultProxyPort = 1080, kDefaultHttpsProxyPort = 443;  // libcurl's

// What libcurl looks for, in this order; HTTP_PROXY is not among it, as web servers set that to what clients say.
std::string proxy_from_environment(const std::string& scheme) {
  std::vector<const char*> names = {"all_proxy", "ALL_PROXY"};
  if (scheme == "https") names.insert(names.begin(), {"https_proxy", "HTTPS_PROXY"});
  if (scheme == "http") names.insert(names.begin(), "http_proxy");
  for (const char* name : names) {
    if (const char* value = std::getenv(name); value != nullptr && *value != '\0') return value;
  }
  return {};
}

}  // namespace

void AddressGuard::watch(CURL* curl, const std::string& scheme) {
  refused_.clear();
  proxy_host_.clear();
  proxy_port_ = kDefaultProxyPort;
  const std::unique_ptr<CURLU, decltype(&curl_url_cleanup)> url(curl_url(), curl_url_cleanup);
  const std::string proxy = proxy_from_environment(scheme);
  if (url && !proxy.empty() &&
      curl_url_set(url.get(), CURLUPART_URL, proxy.c_str(), CURLU_GUESS_SCHEME | CURLU_NON_SUPPORT_SCHEME) ==
          CURLUE_OK) {
    char* text = nullptr;
    if (curl_url_get(url.get(), CURLUPART_SCHEME, &text, 0) == CURLUE_OK && std::string_view(text) == "https") {
      proxy_port_ = kDefaultHttpsProxyPort;
    }
    curl_free(text);
    text = nullptr;
    if (curl_url_get(url.get(), CURLUPART_HOST, &text, 0) == CURLUE_OK) proxy_host_ = text;
    curl_free(text);
    text = nullptr;
    if (curl_url_get(url.get(), CURLUPART_PORT, &text, 0) == CURLUE_OK) proxy_port_ = std::atoi(text);
    curl_free(text);
    if (proxy_host_.starts_with('[')) proxy_host_ = proxy_host_.substr(1, proxy_host_.size() - 2);
  }
  curl_easy_setopt(curl, CURLOPT_OPENSOCKETFUNCTION, open_socket);
  curl_easy_setopt(curl, CURLOPT_OPENSOCKETDATA, this);
}

curl_socket_t AddressGuard::open_socket(void* guard, curlsocktype /*purpose*/, curl_sockaddr* address) {
  auto& self = *static_cast<AddressGuard*>(guard);
  const auto server = endpoint_of(address->addr);
  if (server && !self.allows(*server)) {
    self.refused_ = to_string(server->ip);
    return CURL_SOCKET_BAD;
  }
  return sgl::open_socket(address->family, address->socktype, address->protocol);
}

bool AddressGuard::allows(const Endpoint& server) const {
  if (allow_private_ || is_public_(server.ip) || !home_is_public_) return true;
  return (!*home_is_public_ && !chain_was_public_) || is_proxy(server);
}

bool AddressGuard::is_proxy(const Endpoint& server) const {
  if (proxy_host_.empty() || server.port != proxy_port_) return false;
  const std::vector<IpAddress> proxies = resolve(proxy_host_);
  return std::find(proxies.begin(), proxies.end(), server.ip) != proxies.end();
}

void AddressGuard::note_reached(CURL* curl) {
  const char* text = nullptr;
  long port = 0;
  curl_easy_getinfo(curl, CURLINFO_PRIMARY_IP, &text);
  curl_easy_getinfo(curl, CURLINFO_PRIMARY_PORT, &port);
  const auto ip = text != nullptr ? parse_ip(text) : std::nullopt;
  if (!ip) return;  // nobody was reached
  const bool on_internet = is_public_(*ip) || is_proxy({*ip, static_cast<uint16_t>(port)});
  if (!home_is_public_) home_is_public_ = on_internet;
  chain_was_public_ = chain_was_public_ || on_internet;
}

}  // namespace sgl::hub
