#pragma once
// The one exception type of the project, and what its kinds mean to a caller.

#include <stdexcept>
#include <string>
#include <utility>

namespace sgl {

/// What went wrong, in terms of what the caller can do about it. The server maps each kind to one HTTP status.
enum class ErrorKind {
  InvalidArgument,    ///< The caller's input is wrong; the same call will fail again.        400
  NotFound,           ///< A named thing (file, model, route) does not exist.                 404
  Unsupported,        ///< Well-formed, but this program cannot do it.                        400 (501 for a route)
  CorruptFile,        ///< A file's content contradicts its own format.                       exits at start
  ResourceExhausted,  ///< Memory, pages, queue places: too little now, maybe not later.      503
  Unavailable,        ///< Network or peer failed, or this process is shutting down.          503
  Internal,           ///< A bug, or a fault of the machine.                                  500
  DeviceLost,         ///< A device failed for good: nothing computes in this process now.    500, then it ends
  // Of programs on language models (sgl/program.h):
  WrongType,  ///< What a model wrote is not of the type that was asked for.                  500
  Aborted,    ///< The peer ended a request before its time, or every try failed.             500
  Cancelled,  ///< The caller gave up.                                                        500
  Server,     ///< A remote server answered with an error: status() says which.               500
};

/// Thrown where a request or a load cannot go on. The message names the thing, what was expected, what came,
/// and what to do. Caught in three places: main, the HTTP route, the engine's admission.
class Error : public std::runtime_error {
 public:
  Error(ErrorKind kind, const std::string& message) : std::runtime_error(message), kind_(kind) {}
  /// For what a remote server answered: its HTTP status, and the name of the request there.
  Error(ErrorKind kind, const std::string& message, int status, std::string rid = {})
      : std::runtime_error(message), kind_(kind), status_(status), rid_(std::move(rid)) {}
  ErrorKind kind() const { return kind_; }
  int status() const { return status_; }           ///< HTTP status of a remote server's answer; 0: none
  const std::string& rid() const { return rid_; }  ///< name of the request that failed; may be empty

 private:
  ErrorKind kind_;
  int status_ = 0;
  std::string rid_{};
};

}  // namespace sgl
