#include "lang/media.h"

#include <algorithm>
#include <cstdint>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <vector>

#include <fmt/format.h>

#include "base/base64.h"
#include "sgl/error.h"

namespace sgl::lang {
namespace {

constexpr std::string_view kPng = "\x89PNG\r\n\x1a\n", kJpeg = "\xFF\xD8\xFF";

bool is_picture(std::string_view bytes) {
  return bytes.starts_with(kPng) || bytes.starts_with(kJpeg) || bytes.starts_with("GIF8") ||
         (bytes.size() > 12 && bytes.starts_with("RIFF") && bytes.substr(8, 4) == "WEBP");
}

std::string read(const std::filesystem::path& path) {
  std::ifstream in(path, std::ios::binary);
  if (!in) throw Error(ErrorKind::NotFound, fmt::format("cannot read the picture {}", path.string()));
  return {std::istreambuf_iterator<char>(in), {}};
}

/// The frames of PNG files run together: each ends with its IEND chunk. https://www.w3.org/TR/png/#5DataRep
std::vector<std::string_view> split_frames(std::string_view all) {
  std::vector<std::string_view> frames;
  size_t begin = 0;
  while (all.substr(begin).starts_with(kPng)) {
    size_t at = begin + kPng.size();
    bool ended = false;
    while (!ended && at + 12 <= all.size()) {
      uint64_t length = 0;
      for (size_t i = 0; i < 4; ++i) length = length << 8 | static_cast<unsigned char>(all[at + i]);
      ended = all.substr(at + 4, 4) == "IEND";
      if (length > all.size() - at - 12) return {};
      at += 12 + length;
    }
    if (!ended) return {};
    frames.push_back(all.substr(begin, at - begin));
    begin = at;
  }
  return begin == all.size() ? frames : std::vector<std::string_view>{};
}

}  // namespace

const char* mime_type(std::string_view base64) {
  if (base64.starts_with("iVBOR")) return "image/png";
  if (base64.starts_with("R0lG")) return "image/gif";
  if (base64.starts_with("UklG")) return "image/webp";
  return "image/jpeg";
}

std::string encode_image(std::string_view path_or_bytes) {
  if (is_picture(path_or_bytes)) return base64(path_or_bytes);
  if (path_or_bytes.size() > 4096 || path_or_bytes.find('\0') != std::string_view::npos) {
    throw Error(ErrorKind::InvalidArgument, "image(): these bytes are no PNG, JPEG, GIF or WebP file, nor a path");
  }
  const std::string bytes = read(std::filesystem::path(path_or_bytes));
  if (!is_picture(bytes)) {
    throw Error(ErrorKind::InvalidArgument,
                fmt::format("image(): {} is no PNG, JPEG, GIF or WebP file", path_or_bytes));
  }
  return base64(bytes);
}

std::string encode_video(const std::string& path, int num_frames) {
  namespace fs = std::filesystem;
  if (num_frames < 1) {
    throw Error(ErrorKind::InvalidArgument, fmt::format("video(): num_frames must be at least 1, got {}", num_frames));
  }
  std::vector<std::string> files;
  if (fs::is_directory(path)) {
    std::vector<fs::path> paths;
    for (const fs::directory_entry& entry : fs::directory_iterator(path)) {
      if (entry.path().extension() == ".png") paths.push_back(entry.path());
    }
    std::sort(paths.begin(), paths.end());
    for (const fs::path& p : paths) files.push_back(read(p));
  } else {
    files.push_back(read(path));
  }
  std::vector<std::string_view> frames;
  for (const std::string& file : files) {
    for (std::string_view frame : split_frames(file)) frames.push_back(frame);
  }
  if (frames.empty()) {
    throw Error(
        ErrorKind::InvalidArgument,
        fmt::format("video(): {} has no PNG frames; make them with: ffmpeg -i VIDEO -c:v png -f image2pipe OUT", path));
  }
  const auto n = std::min(static_cast<size_t>(num_frames), frames.size());
  std::string bytes;
  for (size_t i = 0; i < n; ++i) bytes += frames[n == 1 ? 0 : i * (frames.size() - 1) / (n - 1)];
  return "video:" + base64(bytes);
}

}  // namespace sgl::lang
