#pragma once
// Which backend an example runs on: the same program text on each that can do what it asks for. Chat APIs take turns
// alone and have no choices; an example that needs more ends with an error that says so.
//
//   EXAMPLE                        the default model in this process, downloaded once
//   EXAMPLE MODEL                  another: a directory, a .gguf file or a hub id
//   EXAMPLE --url URL              an sgl or SGLang server
//   EXAMPLE --openai-chat MODEL    OpenAI's chat API (OPENAI_API_KEY, OPENAI_BASE_URL); likewise --openai, --anthropic

#include <exception>
#include <iostream>
#include <memory>
#include <string>

#include <sgl/program.h>

inline std::shared_ptr<sgl::Backend> choose_backend(int argc, char** argv) {
  const std::string first = argc > 1 ? argv[1] : "", second = argc > 2 ? argv[2] : "";
  if (first == "--url") return sgl::runtime(second);
  if (first == "--openai-chat") return sgl::openai_chat({.model = second});
  if (first == "--openai") return sgl::openai({.model = second});
  if (first == "--anthropic") return sgl::anthropic({.model = second});
  return sgl::engine(sgl::EngineOptions{.model_path = first, .decode_log_interval = 0});
}

/// Sets the default backend and runs `program`; an error becomes a line and status 1.
inline int run_example(int argc, char** argv, void (*program)()) {
  try {
    sgl::set_default_backend(choose_backend(argc, argv));
    program();
    sgl::set_default_backend(nullptr);
    return 0;
  } catch (const std::exception& error) {
    std::cerr << argv[0] << ": " << error.what() << std::endl;
    return 1;
  }
}
