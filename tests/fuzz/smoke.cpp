// A short run of every target with inputs near its seeds, the same ones for the same --seed. libfuzzer.cpp is the long
// one.
//
// usage: fuzz_smoke [--seed N] [--runs N] [--seconds N] [--target NAME] [FILE…]      FILEs: inputs of that target,
// alone
//
// The input that is being tried stands in ./fuzz_NAME.input, and stays there when the process dies of it.

#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <fstream>
#include <iterator>
#include <random>
#include <string>
#include <unistd.h>
#include <vector>

#include "fuzz/targets.h"
#include "sgl/error.h"

namespace sgl::fuzz {
namespace {

constexpr size_t kLongest = size_t{64} << 10;
constexpr unsigned kPatience = 60;  // seconds for one input: more is a hang

class Mutator {
 public:
  Mutator(uint64_t seed, const std::vector<std::string>& seeds) : rng_(seed), seeds_(seeds) {}

  std::string next() {
    std::string s = seeds_[below(seeds_.size())];
    for (size_t n = 1 + below(8); n > 0; --n) change(s);
    if (s.size() > kLongest) s.resize(kLongest);
    return s;
  }

 private:
  size_t below(size_t n) { return n == 0 ? 0 : static_cast<size_t>(rng_() % n); }

  void change(std::string& s) {
    const size_t at = below(s.size() + 1), n = std::min(s.size() - at, size_t{1} << below(8));
    switch (below(8)) {
      case 0:  // another byte
        if (at < s.size()) s[at] = static_cast<char>(rng_());
        break;
      case 1:  // another bit
        if (at < s.size()) s[at] = static_cast<char>(s[at] ^ (1 << below(8)));
        break;
      case 2:
        s.erase(at, n);
        break;
      case 3:  // twice
        s.insert(at, s.substr(at, n));
        break;
      case 4:  // a number at its limits
      {
        constexpr uint64_t kNumbers[] = {0,
                                         1,
                                         0x7f,
                                         0x80,
                                         0xff,
                                         0x7fff,
                                         0xffff,
                                         0x7fffffff,
                                         0x80000000,
                                         0xffffffff,
                                         0x7fffffffffffffff,
                                         0x8000000000000000,
                                         0xffffffffffffffff};
        const uint64_t number = kNumbers[below(std::size(kNumbers))];
        const size_t width = std::min(s.size() - at, size_t{1} << below(4));
        std::memcpy(s.data() + at, &number, width);
        break;
      }
      case 5: {  // what means something to one or another
        constexpr const char* kWords[] = {"{",
                                          "}",
                                          "[",
                                          "]",
                                          "\"",
                                          "\\",
                                          "\\u0000",
                                          "\xff",
                                          "\xed\xa0\x80",
                                          "\n",
                                          "\r\n",
                                          "-1",
                                          "1e999",
                                          "99999999999999999999",
                                          "null",
                                          "{{",
                                          "%}",
                                          "<",
                                          ">",
                                          "(",
                                          ")",
                                          "{0,1000000000}",
                                          "$ref",
                                          "#/",
                                          "|",
                                          "*",
                                          ":",
                                          ",",
                                          "\"type\":"};
        s.insert(at, kWords[below(std::size(kWords))]);
        break;
      }
      case 6: {  // a part of another seed
        const std::string& other = seeds_[below(seeds_.size())];
        s.insert(at, other.substr(below(other.size()), size_t{1} << below(9)));
        break;
      }
      default:
        s.resize(at);
    }
  }

  std::mt19937_64 rng_;
  const std::vector<std::string>& seeds_;
};

void try_input(const Target& target, const std::string& input, const std::string& note) {
  if (!note.empty()) std::ofstream(note, std::ios::binary | std::ios::trunc) << input;
  alarm(kPatience);
  try {
    target.run(input);
  } catch (const Error&) {
  }
  alarm(0);
}

int run(int argc, char** argv) {
  uint64_t seed = std::random_device{}();
  int runs = 1000;
  double seconds = 1e9;
  std::string only;
  std::vector<std::string> files;
  for (int i = 1; i < argc; ++i) {
    const std::string a = argv[i], value = i + 1 < argc ? argv[i + 1] : "";
    if (a.starts_with("--")) ++i;
    if (a == "--seed")
      seed = std::stoull(value);
    else if (a == "--runs")
      runs = std::stoi(value);
    else if (a == "--seconds")
      seconds = std::stod(value);
    else if (a == "--target")
      only = value;
    else
      files.push_back(a);
  }
  std::printf("seed %llu\n", static_cast<unsigned long long>(seed));
  int done = 0;
  for (const Target& target : targets()) {
    if (!only.empty() && only != target.name) continue;
    ++done;
    if (!files.empty()) {
      for (const std::string& file : files) {
        std::ifstream in(file, std::ios::binary);
        try_input(target, {std::istreambuf_iterator<char>(in), {}}, "");
      }
      continue;
    }
    const std::vector<std::string> seeds = target.seeds();
    const std::string note = std::string("fuzz_") + target.name + ".input";
    for (const std::string& s : seeds) try_input(target, s, note);
    Mutator mutator(seed, seeds);
    const auto start = std::chrono::steady_clock::now();
    int n = 0;
    for (; n < runs && std::chrono::steady_clock::now() - start < std::chrono::duration<double>(seconds); ++n) {
      try_input(target, mutator.next(), note);
    }
    std::remove(note.c_str());
    std::printf("%s: %zu seeds, %d inputs near them\n", target.name, seeds.size(), n);
    std::fflush(stdout);
  }
  if (done == 0) std::fprintf(stderr, "there is no target %s\n", only.c_str());
  return done == 0 ? 2 : 0;
}

}  // namespace
}  // namespace sgl::fuzz

int main(int argc, char** argv) { return sgl::fuzz::run(argc, argv); }
