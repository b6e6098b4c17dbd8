#include "base/ip_address.h"

#include <algorithm>
#include <arpa/inet.h>
#include <cstring>
#include <netdb.h>
#include <netinet/in.h>
#include <string_view>
#include <sys/socket.h>

namespace sgl {
namespace {

IpAddress from_v4(const void* bytes) {
  IpAddress out;
  out.bytes[10] = out.bytes[11] = 0xff;
  std::memcpy(&out.bytes[12], bytes, 4);
  return out;
}

IpAddress from_v6(const void* bytes) {
  IpAddress out;
  std::memcpy(out.bytes.data(), bytes, 16);
  return out;
}

bool is_v4(const IpAddress& a) {
  return std::all_of(a.bytes.begin(), a.bytes.begin() + 10, [](uint8_t b) { return b == 0; }) && a.bytes[10] == 0xff &&
         a.bytes[11] == 0xff;
}

struct Network {
  IpAddress base;
  int bits;  ///< of it that count

  Network(const char* text, int prefix) : base(*parse_ip(text)), bits(is_v4(base) ? prefix + 96 : prefix) {}
  bool contains(const IpAddress& a) const {
    for (int i = 0; i < bits; i += 8) {
      const int unused = std::max(i + 8 - bits, 0);
      const auto byte = static_cast<size_t>(i / 8);
      if ((a.bytes[byte] ^ base.bytes[byte]) >> unused != 0) return false;
    }
    return true;
  }
};

// IPv6 addresses that are translated to IPv4 ones, and at which of their bytes those begin.
struct Translated {
  Network network;
  size_t at;
};

}  // namespace

std::optional<IpAddress> parse_ip(const std::string& text) {
  std::array<uint8_t, 16> bytes{};
  if (inet_pton(AF_INET, text.c_str(), bytes.data()) == 1) return from_v4(bytes.data());
  if (inet_pton(AF_INET6, text.c_str(), bytes.data()) == 1) return from_v6(bytes.data());
  return std::nullopt;
}

std::string to_string(const IpAddress& address) {
  std::array<char, INET6_ADDRSTRLEN> text{};
  const bool v4 = is_v4(address);
  inet_ntop(v4 ? AF_INET : AF_INET6, &address.bytes[v4 ? 12 : 0], text.data(), text.size());
  return text.data();
}

std::optional<Endpoint> endpoint_of(const sockaddr& address) {
  if (address.sa_family == AF_INET) {
    const auto& v4 = reinterpret_cast<const sockaddr_in&>(address);
    return Endpoint{from_v4(&v4.sin_addr), ntohs(v4.sin_port)};
  }
  if (address.sa_family == AF_INET6) {
    const auto& v6 = reinterpret_cast<const sockaddr_in6&>(address);
    return Endpoint{from_v6(&v6.sin6_addr), ntohs(v6.sin6_port)};
  }
  return std::nullopt;
}

std::vector<IpAddress> resolve(const std::string& host) {
  addrinfo wanted{}, *found = nullptr;
  wanted.ai_socktype = SOCK_STREAM;
  std::vector<IpAddress> out;
  if (getaddrinfo(host.c_str(), nullptr, &wanted, &found) != 0) return out;
  for (const addrinfo* a = found; a != nullptr; a = a->ai_next) {
    if (const auto endpoint = endpoint_of(*a->ai_addr)) out.push_back(endpoint->ip);
  }
  freeaddrinfo(found);
  return out;
}

int open_socket(int family, int type, int protocol) { return socket(family, type | SOCK_CLOEXEC, protocol); }

bool is_public(const IpAddress& address) {
  static const std::array kTranslated = {Translated{{"2002::", 16}, 2}, Translated{{"64:ff9b::", 96}, 12}};
  for (const auto& [network, at] : kTranslated) {
    if (network.contains(address)) return is_public(from_v4(&address.bytes[at]));
  }
  static const std::array kInternet = {Network("0.0.0.0", 0), Network("2000::", 3)};
  static const std::array kNotPublic = {
      Network("0.0.0.0", 8),        // this host
      Network("10.0.0.0", 8),       // private (RFC 1918)
      Network("100.64.0.0", 10),    // carriers' (RFC 6598)
      Network("127.0.0.0", 8),      // loopback
      Network("169.254.0.0", 16),   // link-local: where clouds keep their metadata
      Network("172.16.0.0", 12),    // private
      Network("192.0.0.0", 24),     // protocols
      Network("192.0.2.0", 24),     // documentation
      Network("192.168.0.0", 16),   // private
      Network("198.18.0.0", 15),    // benchmarks
      Network("198.51.100.0", 24),  // documentation
      Network("203.0.113.0", 24),   // documentation
      Network("224.0.0.0", 3),      // groups, reserved, broadcast
      Network("2001::", 23),        // protocols, Teredo
      Network("2001:db8::", 32),    // documentation
      Network("3fff::", 20),        // documentation
  };
  // What IPv6 has beyond 2000::/3 is local, or nobody's: ::1, fc00::/7, fe80::/10, ff00::/8.
  const auto has_it = [&](const Network& n) { return n.contains(address); };
  return std::any_of(kInternet.begin(), kInternet.end(), has_it) &&
         std::none_of(kNotPublic.begin(), kNotPublic.end(), has_it);
}

}  // namespace sgl
