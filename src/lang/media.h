#pragma once
// Pictures and videos as the wire has them.

#include <string>
#include <string_view>

namespace sgl::lang {

/// Base64 of a picture given by its path or by its bytes. Throws NotFound, InvalidArgument.
std::string encode_image(std::string_view path_or_bytes);
/// "video:" and the base64 of `num_frames` PNG frames run together. Throws NotFound, InvalidArgument.
std::string encode_video(const std::string& path, int num_frames);
/// "image/png", …, by the first bytes of a picture that encode_image() made.
const char* mime_type(std::string_view base64);

}  // namespace sgl::lang
