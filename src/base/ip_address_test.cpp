#include "base/ip_address.h"

#include <arpa/inet.h>
#include <netinet/in.h>

#include <gtest/gtest.h>

namespace sgl {
namespace {

TEST(IpAddress, TextsRoundTrip) {
  for (const char* text : {"192.0.2.1", "2001:db8::1", "::", "255.255.255.255"}) {
    const auto ip = parse_ip(text);
    ASSERT_TRUE(ip) << text;
    EXPECT_EQ(to_string(*ip), text);
  }
  EXPECT_EQ(to_string(*parse_ip("::ffff:10.1.2.3")), "10.1.2.3");
  for (const char* text : {"", "localhost", "1.2.3", "1.2.3.4.5", "[::1]", "1.2.3.4 "}) {
    EXPECT_FALSE(parse_ip(text)) << text;
  }
}

TEST(IpAddress, SocketAddressesAreRead) {
  sockaddr_in v4{};
  v4.sin_family = AF_INET;
  v4.sin_port = htons(443);
  inet_pton(AF_INET, "10.1.2.3", &v4.sin_addr);
  const auto found = endpoint_of(reinterpret_cast<const sockaddr&>(v4));
  ASSERT_TRUE(found);
  EXPECT_EQ(to_string(found->ip), "10.1.2.3");
  EXPECT_EQ(found->port, 443);
  sockaddr_in6 v6{};
  v6.sin6_family = AF_INET6;
  inet_pton(AF_INET6, "fe80::1", &v6.sin6_addr);
  ASSERT_TRUE(endpoint_of(reinterpret_cast<const sockaddr&>(v6)));
  EXPECT_EQ(to_string(endpoint_of(reinterpret_cast<const sockaddr&>(v6))->ip), "fe80::1");
  sockaddr other{};
  other.sa_family = AF_UNIX;
  EXPECT_FALSE(endpoint_of(other));
}

TEST(IpAddress, NamesAreResolved) {
  EXPECT_EQ(resolve("127.0.0.1"), std::vector{*parse_ip("127.0.0.1")});
  EXPECT_TRUE(resolve(std::string(64, 'x')).empty()) << "no name has such a part, so nobody is asked";
}

TEST(IpAddress, OnlyWhatTheInternetMayHaveIsPublic) {
  for (const char* text : {"1.1.1.1",         "9.255.255.255",   "11.0.0.0",         "100.63.255.255",
                           "100.128.0.0",     "126.255.255.255", "128.0.0.0",        "172.15.255.255",
                           "172.32.0.0",      "192.167.255.255", "192.169.0.0",      "198.17.0.1",
                           "198.20.0.0",      "223.255.255.255", "2600::1",          "2a00:1450:4001:80b::200e",
                           "2001:4860::8888", "2002:101:101::1", "64:ff9b::101:101", "::ffff:1.1.1.1"}) {
    EXPECT_TRUE(is_public(*parse_ip(text))) << text;
  }
  for (const char* text : {"0.0.0.0",
                           "0.1.2.3",
                           "10.0.0.0",
                           "10.255.255.255",
                           "100.64.0.0",
                           "100.127.255.255",
                           "127.0.0.1",
                           "127.255.255.255",
                           "169.254.169.254",
                           "172.16.0.0",
                           "172.31.255.255",
                           "192.0.0.1",
                           "192.0.2.1",
                           "192.168.1.1",
                           "198.18.0.0",
                           "198.19.255.255",
                           "198.51.100.1",
                           "203.0.113.1",
                           "224.0.0.1",
                           "240.0.0.1",
                           "255.255.255.255",
                           "::",
                           "::1",
                           "::7f00:1",
                           "fc00::1",
                           "fd12:3456::1",
                           "fe80::1",
                           "fec0::1",
                           "ff02::1",
                           "2001:db8::1",
                           "2001::1",
                           "3fff::1",
                           "2002:7f00:1::1",
                           "2002:a9fe:a9fe::",
                           "64:ff9b::a00:1",
                           "64:ff9b:1::1",
                           "::ffff:127.0.0.1",
                           "::ffff:169.254.169.254"}) {
    EXPECT_FALSE(is_public(*parse_ip(text))) << text;
  }
}

}  // namespace
}  // namespace sgl
