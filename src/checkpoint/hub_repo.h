#pragma once
// Models of the hub, in the cache layout that huggingface_hub made, so that its tools and this program share one copy:
//
//   <hub_cache>/models--org--name/refs/main                 the commit that "main" meant at download
//                                /snapshots/<commit>/file   relative links into
//                                /blobs/<hash>              the contents: SHA-256 of large files, Git hash of small
//                                ones /blobs/<hash>.incomplete   a download that is not finished
//   <hub_cache>/.locks/models--org--name/<hash>.lock        who downloads that blob

#include <optional>
#include <string>
#include <vector>

#include "checkpoint/hub.h"
#include "checkpoint/hub_files.h"

namespace sgl::hub {

/// Regular files below `directory`, links followed, as relative names with '/': at most 100,000, and not
/// more than two folders deep.
std::vector<std::string> list_files(const std::string& directory);

/// What to load from a directory that holds `names`: itself, if it has a config and whole safetensors weights; else its
/// one GGUF file. nullopt if it has neither, whole. Throws InvalidArgument if there are several GGUF models.
/// With a selector only a GGUF file counts; NotFound if there is none such.
std::optional<std::string> model_in_directory(const std::string& directory, const std::vector<std::string>& names,
                                              const std::string& selector);

/// The model in the local cache; nullopt if it is not there, or not whole. No request is made.
std::optional<std::string> find_in_cache(const HubId& id, const HubOptions& options);

/// Downloads what serving needs, and returns it as find_in_cache() would. Throws as resolve_model().
std::string download_repo(const HubId& id, const HubOptions& options);

/// The same for what stands beside the weights: a directory with a tokenizer.json.
std::optional<std::string> find_tokenizer_in_cache(const HubId& id, const HubOptions& options);
std::string download_tokenizer(const HubId& id, const HubOptions& options);

}  // namespace sgl::hub
