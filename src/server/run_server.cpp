// The server over the real engine. Apart from serve.cpp, so that tests link without any model code.

#include "base/log.h"
#include "server/server.h"

namespace sgl {

int run_server(const ServerOptions& options) {
  log::init(options.log_level, options.log_format);
  return serve(options, [&] { return load_engine(options.engine); });
}

}  // namespace sgl
