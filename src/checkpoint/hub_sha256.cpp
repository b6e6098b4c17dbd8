#include "checkpoint/hub_sha256.h"

#include <algorithm>
#include <array>
#include <openssl/evp.h>

#include <fmt/format.h>

#include "base/file.h"
#include "sgl/error.h"

namespace sgl::hub {

struct Sha256::Impl {
  std::unique_ptr<EVP_MD_CTX, decltype(&EVP_MD_CTX_free)> context{EVP_MD_CTX_new(), EVP_MD_CTX_free};
};

Sha256::Sha256() : impl_(std::make_unique<Impl>()) {
  if (!impl_->context || EVP_DigestInit_ex(impl_->context.get(), EVP_sha256(), nullptr) != 1) {
    throw Error(ErrorKind::Internal, "OpenSSL offers no SHA-256");
  }
}

Sha256::~Sha256() = default;

void Sha256::update(std::span<const std::byte> bytes) {
  EVP_DigestUpdate(impl_->context.get(), bytes.data(), bytes.size());
}

std::string Sha256::hex() {
  std::array<unsigned char, 32> digest{};
  EVP_DigestFinal_ex(impl_->context.get(), digest.data(), nullptr);
  std::string out;
  for (unsigned char byte : digest) out += fmt::format("{:02x}", byte);
  return out;
}

std::string sha256_of_file(const std::string& path) {
  constexpr size_t kPart = size_t{16} << 20;  // so that a file larger than memory does not fill it
  MappedFile file(path);
  Sha256 sha;
  auto rest = file.bytes();
  while (!rest.empty()) {
    auto part = rest.first(std::min(kPart, rest.size()));
    sha.update(part);
    MappedFile::release(part);
    rest = rest.subspan(part.size());
  }
  return sha.hex();
}

}  // namespace sgl::hub
