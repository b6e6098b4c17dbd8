#pragma once
// What everyone who fetches over HTTP has to decide alike.

#include <cstdlib>
#include <string>

namespace sgl {

/// Whether a request that got this status may succeed when it is sent again.
inline bool is_passing_failure(long status) {
  return status == 408 || status == 425 || status == 429 || (status >= 500 && status != 501 && status != 505);
}

/// The file of certificates that the environment names instead of the system's, which libcurl itself does not look
/// for; null if there is none.
inline const char* ca_bundle_from_environment() {
  for (const char* name : {"SSL_CERT_FILE", "CURL_CA_BUNDLE", "REQUESTS_CA_BUNDLE"}) {
    if (const char* path = std::getenv(name); path != nullptr && *path != '\0') return path;
  }
  return nullptr;
}

}  // namespace sgl
