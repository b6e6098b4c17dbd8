#pragma once
// Reads the body of one call: what stands behind a CallPattern's head, up to the end of its arguments.

#include <memory>
#include <string>
#include <string_view>

#include "server/json_scanner.h"
#include "server/tool_format.h"

namespace sgl {

class ToolCallReader {
 public:
  virtual ~ToolCallReader() = default;
  /// Reads on. `text` is what it was in the last call and more; it begins where the body does.
  virtual Scan scan(std::string_view text) = 0;
  /// How much of the text has been read; when Done, the body ends there.
  size_t position() const { return position_; }
  /// The function; empty while it is not known.
  const std::string& name() const { return name_; }
  /// The JSON text of the arguments as far as they are known: whole when Done, up to the wrong byte when Broken.
  const std::string& arguments() const { return arguments_; }

 protected:
  explicit ToolCallReader(std::string name) : name_(std::move(name)) {}
  std::string name_, arguments_;
  size_t position_ = 0;
};

/// `tool`: the function that the head named, or null if the body names it.
std::unique_ptr<ToolCallReader> make_call_reader(CallBody body, const Tool* tool);

}  // namespace sgl
