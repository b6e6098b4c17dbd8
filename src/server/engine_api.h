#pragma once
// What the server needs of an engine. The routes see this interface, so that their tests run against a scripted engine
// that needs no model; engine_adapter.cpp puts sgl::Engine behind it.

#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "sgl/engine.h"
#include "sgl/request.h"
#include "sgl/tokenizer.h"

namespace sgl {

/// The part of Engine that routes call; each function means what Engine's of the same name does.
/// Thread: every function may be called from any thread.
class EngineApi {
 public:
  virtual ~EngineApi() = default;
  virtual std::string submit(Request request, OutputCallback on_output) = 0;
  using CallCallback = std::function<void(size_t request, Output&& piece)>;
  virtual void submit(std::vector<Request> requests, const CallCallback& on_output) = 0;
  virtual bool must_compile(const SamplingParams& sampling) const = 0;
  virtual void abort(const std::string& rid_prefix) = 0;
  virtual void abort_all(const std::string& why, int status) = 0;
  virtual void begin_pause(PauseMode mode) = 0;
  virtual void resume() = 0;
  virtual bool flush_cache(double timeout_s) = 0;
  virtual bool drain(double timeout_s) = 0;
  virtual const ModelInfo& info() const = 0;
  virtual const EngineOptions& options() const = 0;
  virtual EngineStats stats() const = 0;
  virtual const Tokenizer* tokenizer() const = 0;
  virtual std::vector<int32_t> tokenize(const Request& request) const = 0;
};

/// Loads the model that `options` name and returns its engine. Throws Error.
std::shared_ptr<EngineApi> load_engine(const EngineOptions& options);

}  // namespace sgl
