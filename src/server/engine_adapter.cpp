// sgl::Engine behind the interface that the routes use.

#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "server/engine_api.h"

namespace sgl {
namespace {

class EngineAdapter final : public EngineApi {
 public:
  explicit EngineAdapter(const EngineOptions& options) : engine_(options) {}
  std::string submit(Request request, OutputCallback on_output) override {
    return engine_.submit(std::move(request), on_output);
  }
  void submit(std::vector<Request> requests, const CallCallback& on_output) override {
    engine_.submit(std::move(requests), on_output);
  }
  bool must_compile(const SamplingParams& sampling) const override { return engine_.must_compile(sampling); }
  void abort(const std::string& rid_prefix) override { engine_.abort(rid_prefix); }
  void abort_all(const std::string& why, int status) override { engine_.abort_all(why, status); }
  void begin_pause(PauseMode mode) override { engine_.begin_pause(mode); }
  void resume() override { engine_.resume(); }
  bool flush_cache(double timeout_s) override { return engine_.flush_cache(timeout_s); }
  bool drain(double timeout_s) override { return engine_.drain(timeout_s); }
  const ModelInfo& info() const override { return engine_.info(); }
  const EngineOptions& options() const override { return engine_.options(); }
  EngineStats stats() const override { return engine_.stats(); }
  const Tokenizer* tokenizer() const override { return engine_.tokenizer(); }
  std::vector<int32_t> tokenize(const Request& request) const override { return engine_.tokenize(request); }

 private:
  Engine engine_;
};

}  // namespace

std::shared_ptr<EngineApi> load_engine(const EngineOptions& options) {
  return std::make_shared<EngineAdapter>(options);
}

}  // namespace sgl
