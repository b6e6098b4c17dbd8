#pragma once
// Which of a repository's or folder's files a model needs. Pure functions on lists of names.

#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace sgl::hub {

/// A hub model as a user names it: "org/name[@revision][:selector]".
struct HubId {
  std::string repo;      ///< "org/name", or "name" alone
  std::string revision;  ///< branch, tag, commit or refs/…; empty: not given
  std::string selector;  ///< a .gguf file's name or a part of it (Q4_K_M); empty: not given
};

/// nullopt when `text` cannot be a hub id: absolute, more than one slash, a file's suffix, characters no name has.
std::optional<HubId> parse_hub_id(std::string_view text);

/// Whether a name from a server may become a path below a folder: relative, no "..", no backslash, no control byte.
bool is_safe_name(std::string_view name);

/// A server's words for a message: control bytes become '?', at most 200 bytes.
std::string printable(std::string_view text);

/// A GGUF model: one file, or several called x-00001-of-00003.gguf, in order.
struct GgufModel {
  std::vector<std::string> files;
};

/// The GGUF models among `names`; vision projectors (mmproj) and importance matrices are none.
/// A model some of whose parts are missing is left out.
std::vector<GgufModel> gguf_models(const std::vector<std::string>& names);

/// The one that `selector` names: the first file's name, with or without .gguf, or a part of it between '-', '.' and
/// '/', in any case ("q4_k_m" is a part of "x-Q4_K_M.gguf" and not of "x-Q4_K_M_L.gguf"). Empty: the only one. Throws
/// NotFound or InvalidArgument (several) that list what `where` has.
GgufModel choose_gguf(const std::vector<std::string>& names, std::string_view selector, const std::string& where);

/// Configuration, tokenizer and template files at the top of a repository, and those of sentence-transformers' modules
/// ("1_Pooling/config.json").
bool is_side_file(std::string_view name);

/// The .safetensors files at the top to load when there is no index: model.safetensors if it is there; else all, but
/// not the publisher's own duplicate of the weights (consolidated*.safetensors), unless that is all there is.
std::vector<std::string> safetensors_without_index(const std::vector<std::string>& names);

/// Whether such files are one model: a single file, or all of x-00001-of-00003.safetensors and so on.
bool are_one_model(const std::vector<std::string>& safetensors);

}  // namespace sgl::hub
