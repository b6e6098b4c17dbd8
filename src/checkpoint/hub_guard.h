#pragma once
// Keeps downloads from being led into private networks: a server on the Internet that redirects to 169.254.169.254, or
// to a name that resolves to 127.0.0.1, must not have this machine ask there.
//
// The first server that a client asks is the operator's choice (HF_ENDPOINT, the package index), wherever it is. If it
// is at a private address, as a mirror is, so may be those it leads to and those that the pages name which it leads to.
// No redirect leads from a public address to a private one.

#include <functional>
#include <optional>
#include <string>

#include <curl/curl.h>

#include "base/ip_address.h"

namespace sgl::hub {

using IsPublic = std::function<bool(const IpAddress&)>;

/// What libcurl connects to is checked when its address is known, so a name cannot mean another one afterwards. What
/// goes through a proxy is the proxy's to decide. Thread: one.
class AddressGuard {
 public:
  /// `allow_private`: nothing is refused. `is_public`: tests have their own.
  AddressGuard(bool allow_private, IsPublic is_public)
      : allow_private_(allow_private), is_public_(std::move(is_public)) {}

  /// A URL that did not come from a redirect begins.
  void begin_chain() { chain_was_public_ = false; }
  /// Makes the next transfer of `curl`, of a URL with this scheme, ask here before it connects.
  void watch(CURL* curl, const std::string& scheme);
  /// To be called when that transfer has ended. Whom it reached decides what may come next.
  void note_reached(CURL* curl);

  /// The address that the last transfer was kept from; empty: none.
  const std::string& refused() const { return refused_; }

 private:
  static curl_socket_t open_socket(void* guard, curlsocktype purpose, curl_sockaddr* address);
  bool allows(const Endpoint& server) const;
  bool is_proxy(const Endpoint& server) const;

  const bool allow_private_;
  const IsPublic is_public_;
  std::optional<bool> home_is_public_;  ///< nullopt: no server was reached yet
  bool chain_was_public_ = false;
  std::string proxy_host_;  ///< that the environment names for the transfer; empty: none
  int proxy_port_ = 0;
  std::string refused_;
};

}  // namespace sgl::hub
