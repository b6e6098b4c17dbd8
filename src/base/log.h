#pragma once
// Log lines for operators, to stderr: "[2026-01-31 12:00:00.123] [info] text".

#include <spdlog/spdlog.h>

namespace sgl::log {

using spdlog::debug;
using spdlog::error;
using spdlog::info;
using spdlog::warn;

/// Sets the level ("debug", "info", "warn", "error", "off") and the format. Throws InvalidArgument on another name.
void init(const std::string& level);

}  // namespace sgl::log
