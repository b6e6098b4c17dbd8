#pragma once
// Steps that every model download shares: one process at a time, room on the disk, the checksum.

#include <cstdint>
#include <string>

#include "base/file_writer.h"
#include "checkpoint/hub_http.h"

namespace sgl::hub {

/// Creates the folder and those above it. Throws ResourceExhausted, naming it.
void make_folder(const std::string& path);

/// The lock at `path` (its folder is made); tells the user when another process holds it. `what`: "SmolLM2 …".
LockFile lock_download(const std::string& path, const std::string& what);

/// Throws ResourceExhausted, with both numbers, unless the disk of the existing folder `folder` has room.
void check_space(const std::string& folder, int64_t bytes, const std::string& what);

/// Downloads to job.path and compares the content with `sha256` (hex; empty: size only). Content that was begun by an
/// earlier run and does not match is fetched once more from its start. Returns a Response of status 200, or of the
/// status that the server refused with. Throws CorruptFile on a mismatch (the file is gone then), and as download().
Response fetch_verified(HttpClient& client, Download job, const std::string& sha256);

}  // namespace sgl::hub
