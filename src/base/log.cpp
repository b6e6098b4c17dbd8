#include "base/log.h"

#include <fmt/format.h>
#include <spdlog/sinks/stdout_color_sinks.h>

#include "sgl/error.h"

namespace sgl::log {

void init(const std::string& level) {
  spdlog::level::level_enum value = spdlog::level::from_str(level == "warning" ? "warn" : level);
  if (value == spdlog::level::off && level != "off") {
    throw Error(ErrorKind::InvalidArgument,
                fmt::format("log level must be debug, info, warn, error or off, got \"{}\"", level));
  }
  static auto logger = spdlog::stderr_color_mt("sgl");
  logger->set_pattern("[%Y-%m-%d %H:%M:%S.%e] [%l] %v");
  logger->set_level(value);
  spdlog::set_default_logger(logger);
}

}  // namespace sgl::log
