// A question about a picture, for a model that sees. The backend says whether it can; others skip.
//
//   image_question --url URL        with a vision model; a picture of one's own: IMAGE=cat.png image_question …

#include <cstdlib>
#include <string>

#include "backend.h"

using namespace sgl;

namespace {

// A picture of one red pixel, so that the example needs no file.
constexpr unsigned char kPixel[] = {0x89, 'P',  'N',  'G',  0x0D, 0x0A, 0x1A, 0x0A, 0,    0,    0,    13,   'I',  'H',
                                    'D',  'R',  0,    0,    0,    1,    0,    0,    0,    1,    8,    2,    0,    0,
                                    0,    0x90, 0x77, 0x53, 0xDE, 0,    0,    0,    12,   'I',  'D',  'A',  'T',  0x08,
                                    0xD7, 0x63, 0xF8, 0xCF, 0xC0, 0,    0,    0x03, 0x01, 0x01, 0,    0x18, 0xDD, 0x8D,
                                    0xB0, 0,    0,    0,    0,    'I',  'E',  'N',  'D',  0xAE, 0x42, 0x60, 0x82};

void ask(State& s, const std::string& picture, const std::string& question) {
  s += user(image(picture) + question) + assistant(gen("answer", {.max_tokens = 32}));
}

void example() {
  if (!default_backend()->capabilities().images) {
    std::cout << "skipped: the backend " << default_backend()->name() << " has no model that sees\n";
    return;
  }
  const char* path = std::getenv("IMAGE");
  const std::string picture =
      path != nullptr ? path : std::string(reinterpret_cast<const char*>(kPixel), sizeof(kPixel));
  std::cout << program(ask, {.gen = {.temperature = 0}})(picture, "What colour is it?")["answer"] << "\n";
}

}  // namespace

int main(int argc, char** argv) { return run_example(argc, argv, example); }
