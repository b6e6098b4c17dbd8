// Encodes and decodes what compare.py sends, so that it can hold the answers against the reference package's.
//
//   encode_lines TOKENIZER     a directory with a tokenizer.json, or a GGUF file
//
// stdin: records of a byte, a little-endian u32 n, and
//   'E'  n bytes of text, not necessarily UTF-8
//   'D'  n ids (i32)
//   'T'  nothing: n is an id
// stdout: for E and D the ids (u32 count, i32 each), then the text they decode to without and with special tokens
// (u32 size, bytes each); for T the token's bytes and its spelling.
// With `--time N` instead: encodes stdin N times as one text and prints MB per second of processor time.
//
// Each decoding is also done in pieces of random length; a difference ends the program with status 1.

#include <chrono>
#include <cstdio>
#include <cstring>
#include <ctime>
#include <iostream>
#include <iterator>
#include <memory>
#include <random>
#include <string>
#include <vector>

#include <sgl/error.h>

#include "text/detokenizer.h"
#include "text/tokenizer_json.h"
#include "text/unicode.h"
#include "tokenizers/load_gguf.h"

namespace sgl {
namespace {

template <typename T>
bool read(T& value) {
  return std::fread(&value, sizeof(T), 1, stdin) == 1;
}
void write_u32(size_t n) {
  auto value = static_cast<uint32_t>(n);
  std::fwrite(&value, 4, 1, stdout);
}
void write_text(std::string_view text) {
  write_u32(text.size());
  std::fwrite(text.data(), 1, text.size(), stdout);
}

// decode(ids), and the same by pieces.
std::string decode_checked(const Tokenizer& tokenizer, const std::vector<int32_t>& ids, bool skip,
                           std::mt19937& random) {
  std::string whole = tokenizer.decode(ids, skip), pieces;
  IncrementalDetokenizer stream(tokenizer, skip);
  for (size_t at = 0; at < ids.size();) {
    size_t n = std::min<size_t>(ids.size() - at, random() % 3 + (random() % 8 == 0 ? 5 : 0));
    std::string piece = stream.append(std::span(ids).subspan(at, n));
    if (!is_valid_utf8(piece)) throw Error(ErrorKind::Internal, "a piece is not valid UTF-8: " + piece);
    pieces += piece;
    at += n;
  }
  pieces += stream.flush();
  if (pieces != whole) throw Error(ErrorKind::Internal, "decoded in pieces '" + pieces + "', at once '" + whole + "'");
  return whole;
}

void serve(const Tokenizer& tokenizer) {
  std::mt19937 random(1);
  char kind = 0;
  uint32_t n = 0;
  while (read(kind) && read(n)) {
    if (kind == 'T') {
      write_text(tokenizer.token_bytes(static_cast<int32_t>(n)));
      write_text(tokenizer.token(static_cast<int32_t>(n)));
      continue;
    }
    std::vector<int32_t> ids;
    if (kind == 'E') {
      std::string text(n, '\0');
      if (std::fread(text.data(), 1, n, stdin) != n) return;
      ids = tokenizer.encode(text);
    } else {
      ids.resize(n);
      if (std::fread(ids.data(), 4, n, stdin) != n) return;
    }
    write_u32(ids.size());
    std::fwrite(ids.data(), 4, ids.size(), stdout);
    write_text(decode_checked(tokenizer, ids, true, random));
    write_text(decode_checked(tokenizer, ids, false, random));
  }
}

void time_encoding(const Tokenizer& tokenizer, int times) {
  std::string text((std::istreambuf_iterator<char>(std::cin)), {});
  double best = 1e9;
  size_t ids = 0;
  for (int i = 0; i < times; ++i) {
    std::clock_t begin = std::clock();
    ids = tokenizer.encode(text).size();
    best = std::min(best, static_cast<double>(std::clock() - begin) / CLOCKS_PER_SEC);
  }
  std::printf("%.1f MB/s (best of %d; %zu bytes, %zu ids)\n", static_cast<double>(text.size()) / 1e6 / best, times,
              text.size(), ids);
}

int run(int argc, char** argv) {
  if (argc < 2) {
    std::cerr << "usage: encode_lines TOKENIZER [--time N]\n";
    return 2;
  }
  std::string path = argv[1];
  auto begin = std::chrono::steady_clock::now();
  std::unique_ptr<Tokenizer> tokenizer =
      path.ends_with(".gguf") ? load_gguf_tokenizer(path) : load_tokenizer_json(path);
  std::chrono::duration<double, std::milli> ms = std::chrono::steady_clock::now() - begin;
  std::cerr << "loaded in " << ms.count() << " ms, " << tokenizer->vocab_size() << " tokens\n";
  if (argc == 4 && std::strcmp(argv[2], "--time") == 0) {
    time_encoding(*tokenizer, std::max(1, std::atoi(argv[3])));
  } else {
    serve(*tokenizer);
  }
  return 0;
}

}  // namespace
}  // namespace sgl

int main(int argc, char** argv) {
  try {
    return sgl::run(argc, argv);
  } catch (const std::exception& e) {
    std::cerr << "encode_lines: " << e.what() << "\n";
    return 1;
  }
}
