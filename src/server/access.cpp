#include "server/access.h"

#include <algorithm>
#include <fstream>
#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <utility>

#include <fmt/format.h>

#include "sgl/error.h"

namespace sgl {
namespace {

std::string_view trimmed(std::string_view text) {
  constexpr std::string_view kBlank = " \t\r\n";
  const size_t begin = std::min(text.find_first_not_of(kBlank), text.size());
  text.remove_prefix(begin);
  return text.substr(0, text.find_last_not_of(kBlank) + 1);
}

HttpResponse refuse(int status, const char* word) {
  HttpResponse out = json_response(fmt::format(R"({{"error":"{}"}})", word));
  out.status = status;
  if (status == 401) out.headers = {{"WWW-Authenticate", "Bearer"}};
  return out;
}

}  // namespace

KeyRing::KeyRing(KeyOptions options) : options_(std::move(options)), keys_(load()) {}

void KeyRing::reload() {
  auto fresh = load();
  std::lock_guard lock(mutex_);
  keys_ = std::move(fresh);
}

std::shared_ptr<const KeyRing::Keys> KeyRing::load() const {
  auto out = std::make_shared<Keys>();
  out->normal = read(options_.api_key, options_.api_key_file);
  out->admin = read(options_.admin_api_key, options_.admin_api_key_file);
  return out;
}

std::vector<KeyRing::Digest> KeyRing::read(const std::string& key, const std::string& file) {
  std::vector<Digest> out;
  if (!key.empty()) out.push_back(digest(key));
  if (file.empty()) return out;
  std::ifstream in(file);
  if (!in) {
    throw Error(ErrorKind::NotFound,
                fmt::format("cannot read the keys in {}; it must be a file with one key a line", file));
  }
  const size_t before = out.size();
  for (std::string line; std::getline(in, line);) {
    const std::string_view text = trimmed(line);
    if (!text.empty() && text.front() != '#') out.push_back(digest(text));
  }
  if (in.bad() || out.size() == before) {
    throw Error(ErrorKind::InvalidArgument, fmt::format("{} holds no key; it must have one key a line", file));
  }
  return out;
}

KeyRing::Digest KeyRing::digest(std::string_view key) {
  Digest out{};
  unsigned size = 0;
  if (EVP_Digest(key.data(), key.size(), out.data(), &size, EVP_sha256(), nullptr) != 1 || size != out.size()) {
    throw Error(ErrorKind::Internal, "OpenSSL does not compute SHA-256");
  }
  return out;
}

bool KeyRing::holds(const std::vector<Digest>& keys, const Digest& given) {
  int found = 0;
  for (const Digest& key : keys) found |= CRYPTO_memcmp(key.data(), given.data(), key.size()) == 0 ? 1 : 0;
  return found != 0;
}

std::shared_ptr<const KeyRing::Keys> KeyRing::keys() const {
  std::lock_guard lock(mutex_);
  return keys_;
}

std::pair<size_t, size_t> KeyRing::counts() const {
  const auto keys = this->keys();
  return {keys->normal.size(), keys->admin.size()};
}

std::optional<HttpResponse> KeyRing::refusal(Access access, std::string_view authorization) const {
  const auto keys = this->keys();
  const bool by_admin = access == Access::Admin && !keys->admin.empty();
  const std::vector<Digest>& wanted = by_admin ? keys->admin : keys->normal;
  if (wanted.empty()) return std::nullopt;
  // The scheme's name may be written in any case, and more than one space may follow (RFC 9110, section 11).
  const size_t space = std::min(authorization.find(' '), authorization.size());
  if (!equal_ignoring_case(authorization.substr(0, space), "Bearer")) return refuse(401, "Unauthorized");
  const Digest given = digest(trimmed(authorization.substr(space)));
  if (holds(wanted, given)) return std::nullopt;
  const bool known = by_admin && holds(keys->normal, given);
  return known ? refuse(403, "Forbidden") : refuse(401, "Unauthorized");
}

bool is_open_to_all(std::string_view path) {
  return path.starts_with("/health") || path.starts_with("/ready") || path.starts_with("/metrics");
}

Cors::Cors(const std::string& origins) {
  std::string_view rest = origins;
  while (!rest.empty()) {
    const size_t end = std::min(rest.find(','), rest.size());
    const std::string_view origin = trimmed(rest.substr(0, end));
    rest.remove_prefix(std::min(end + 1, rest.size()));
    if (origin == "*") any_ = true;
    if (!origin.empty()) origins_.emplace_back(origin);
  }
}

std::string_view Cors::allowed(std::string_view origin) const {
  if (origin.empty()) return {};
  if (any_) return "*";
  const auto found = std::find(origins_.begin(), origins_.end(), origin);
  return found == origins_.end() ? std::string_view() : std::string_view(*found);
}

}  // namespace sgl
