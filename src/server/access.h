#pragma once
// Who may call which route.

#include <array>
#include <cstdint>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "server/http.h"

namespace sgl {

/// What a route does to others.
///
///               no key set   only keys   only admin keys   both
///   Normal      open         key         open              key
///   Admin       open         key         admin key         admin key; a key is refused
enum class Access { Normal, Admin };

/// Where keys come from.
struct KeyOptions {
  std::string api_key{};             ///< empty: none
  std::string admin_api_key{};       ///< empty: none
  std::string api_key_file{};        ///< further keys, one a line; '#' begins a comment; empty: none
  std::string admin_api_key_file{};  ///< the same for admin keys
};

/// Only digests of keys are kept; they are compared in constant time, each of them whatever the others gave.
/// Thread: every function may be called from any thread.
class KeyRing {
 public:
  /// Throws Error if a file cannot be read or holds no key: a server must not be open by mistake.
  explicit KeyRing(KeyOptions options);

  /// Reads the files again. Throws as the constructor does; then the keys stay as they are.
  void reload();

  /// The refusal of a request that must not pass: 401, or 403 where the key is one, but not the admin's.
  std::optional<HttpResponse> refusal(Access access, std::string_view authorization) const;

  /// How many keys and admin keys there are.
  std::pair<size_t, size_t> counts() const;

 private:
  using Digest = std::array<uint8_t, 32>;
  struct Keys {
    std::vector<Digest> normal, admin;
  };

  static Digest digest(std::string_view key);
  static std::vector<Digest> read(const std::string& key, const std::string& file);
  static bool holds(const std::vector<Digest>& keys, const Digest& given);
  std::shared_ptr<const Keys> keys() const;
  std::shared_ptr<const Keys> load() const;

  const KeyOptions options_;
  mutable std::mutex mutex_;
  std::shared_ptr<const Keys> keys_;
};

/// Health, readiness and metrics: supervisors have no keys.
bool is_open_to_all(std::string_view path);

/// What browsers are told of pages that other sites serve (the Fetch standard's CORS protocol).
class Cors {
 public:
  /// `origins`: "*" (any), or origins with ',' between them; empty: none.
  explicit Cors(const std::string& origins);

  /// The value of Access-Control-Allow-Origin for a request of that Origin; empty: no such header.
  std::string_view allowed(std::string_view origin) const;
  /// Whether answers differ by Origin.
  bool varies() const { return !any_ && !origins_.empty(); }

 private:
  bool any_ = false;
  std::vector<std::string> origins_;
};

}  // namespace sgl
