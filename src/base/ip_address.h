#pragma once
// Which network an IP address belongs to.

#include <array>
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

struct sockaddr;

namespace sgl {

/// An IPv6 address in network order, or an IPv4 one as the IPv6 address that maps it: ::ffff:192.0.2.1.
struct IpAddress {
  std::array<uint8_t, 16> bytes{};
  bool operator==(const IpAddress&) const = default;
};

/// "192.0.2.1", "2001:db8::1"; nullopt: neither.
std::optional<IpAddress> parse_ip(const std::string& text);
std::string to_string(const IpAddress& address);

/// An address of a socket, taken apart; nullopt: it is neither AF_INET nor AF_INET6.
struct Endpoint {
  IpAddress ip;
  uint16_t port = 0;
};
std::optional<Endpoint> endpoint_of(const sockaddr& address);

/// The addresses of a name, or of an address in words; empty if there are none. Blocks.
std::vector<IpAddress> resolve(const std::string& host);
/// A socket that programs started from this one do not inherit; −1 on failure.
int open_socket(int family, int type, int protocol);

/// Whether the whole Internet may have it. False for this host, private and link-local networks, carriers' inner ones,
/// groups, documentation and what is reserved (IANA's special-purpose registries, RFC 6890), also where IPv6 addresses
/// that translate IPv4 (mapped, 6to4, NAT64) hide them.
bool is_public(const IpAddress& address);

}  // namespace sgl
