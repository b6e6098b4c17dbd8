#pragma once
// From what a user calls a model to files on this machine: a path, a hub id, or nothing for the default model.

#include <chrono>
#include <string>

namespace sgl {

/// Where models come from and are kept. from_environment() fills it as the other tools of the ecosystem would.
struct HubOptions {
  std::string models_dir;      ///< the default model is kept here: cache_directory()/models
  std::string hub_cache;       ///< HF_HUB_CACHE, or HF_HOME/hub, or ~/.cache/huggingface/hub
  std::string endpoint;        ///< HF_ENDPOINT, or https://huggingface.co
  std::string token;           ///< HF_TOKEN, or the file of `huggingface-cli login`; sent to the endpoint's origin only
  std::string pypi_index_url;  ///< SGL_PYPI_INDEX_URL, PIP_INDEX_URL, pip.conf's index-url, or https://pypi.org/simple
  bool offline = false;        ///< HF_HUB_OFFLINE: make no request
  bool allow_private = false;  ///< SGL_HUB_ALLOW_PRIVATE: servers on the Internet may lead to private addresses
  std::string revision;        ///< branch, tag or commit of a hub id; empty: what follows its '@', or main

  int attempts = 5;                            ///< tries without progress before a transfer fails
  std::chrono::milliseconds retry_delay{500};  ///< doubles with each try
  std::chrono::seconds stall_timeout{60};      ///< a transfer that moves nothing for so long is broken off and retried

  static HubOptions from_environment();
};

/// Finds the model, downloading it if need be, and returns a directory or a .gguf file (of several parts: the first).
///
///   ""                          the default model: SmolLM2-135M-Instruct, Q4_1 (Apache-2.0), from PyPI
///   dir, file.gguf              as they are; a dir that holds nothing but one .gguf: that file
///   dir:Q4_K_M                  the one .gguf in it whose name is, or contains as a part, what follows the colon
///   org/name[@revision][:file-or-part]    a hub id; a model that the local hub cache holds whole needs no request
///
/// Start-up is fast: a model that is here is checked for existence and size only; checksums are checked at download.
/// Any number of processes may call it at once; one downloads, the others wait. A download that broke off goes on
/// where it ended. Prints progress to stderr. Throws NotFound, InvalidArgument (ambiguous, malformed), Unavailable
/// (network, offline), CorruptFile (checksum), ResourceExhausted (disk), Unsupported (no usable format).
std::string resolve_model(const std::string& model_path, const HubOptions& options = HubOptions::from_environment());

/// Finds a tokenizer: a directory or a .gguf file as it is; of a hub id org/name[@revision] the directory in the local
/// cache, where its tokenizer and configuration, and nothing else, are downloaded to if need be. Throws as
/// resolve_model.
std::string resolve_tokenizer(const std::string& path, const HubOptions& options = HubOptions::from_environment());

}  // namespace sgl
