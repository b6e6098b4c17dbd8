#include "bench/roofs.h"

#include <algorithm>
#include <atomic>
#include <cmath>
#include <iterator>

#include <fmt/format.h>

#include "base/cpu.h"
#include "base/memory.h"
#include "bench/roof_kernels.h"
#include "bench/timing.h"
#include "tensor/tensor.h"

namespace sgl::bench {
namespace {

constexpr int64_t kRounds = 1 << 14;
constexpr int64_t kReadSizes[] = {int64_t{64} << 10, int64_t{1} << 20,   int64_t{8} << 20,
                                  int64_t{64} << 20, int64_t{256} << 20, int64_t{1} << 30};

const char* name(Arithmetic kind) {
  return kind == Arithmetic::Float32 ? "float32" : kind == Arithmetic::Bfloat16 ? "bfloat16" : "int8";
}

RoofKernels kernels_of(CpuIsa isa) {
#if defined(__x86_64__)
  if (isa == CpuIsa::Avx2) return avx2::roof_kernels();
  if (isa == CpuIsa::Avx512) return avx512::roof_kernels();
#else
  (void)isa;
#endif
  return generic::roof_kernels();
}

/// Operations a second of all threads together.
double measure_unit(ThreadPool& pool, uint32_t (*run)(int64_t rounds), int64_t ops_a_round) {
  std::atomic<uint32_t> sink{0};
  // Many pieces, so that a thread that comes late costs little.
  const int64_t pieces = int64_t{16} * pool.threads();
  const Timing t = time_it(0.1, pool.threads() == 1, [&] {
    pool.parallel_for(pieces, 1, [&](int64_t begin, int64_t end) {
      for (int64_t i = begin; i < end; ++i) sink += run(kRounds);
    });
  });
  return static_cast<double>(pieces * kRounds * ops_a_round) / t.best;
}

struct ReadSpeed {
  double best, median;  ///< bytes a second
};

ReadSpeed measure_read(ThreadPool& pool, const RoofKernels& kernels, const Buffer& memory) {
  const std::byte* data = memory.data();
  const auto bytes = static_cast<int64_t>(memory.bytes());
  std::atomic<uint32_t> sink{0};
  // A small working set is read many times a run, each piece by itself: it stays in the cache of the thread that has
  // it.
  const int64_t piece = std::clamp<int64_t>(bytes / pool.threads() / 1024 * 1024, 1024, int64_t{1} << 20);
  const int64_t pieces = bytes / piece;
  const int times = static_cast<int>(std::max<int64_t>((int64_t{8} << 20) / bytes, 1));
  const Timing t = time_it(0.15, pool.threads() == 1, [&] {
    pool.parallel_for(pieces, 1, [&](int64_t begin, int64_t end) {
      for (int64_t i = begin; i < end; ++i) {
        for (int n = 0; n < times; ++n) sink += kernels.read(data + i * piece, static_cast<size_t>(piece));
      }
    });
  });
  const auto all = static_cast<double>(pieces * piece * times);
  return {all / t.best, all / t.median};
}

Buffer filled_memory(int64_t bytes) {
  Buffer memory = allocate_host(static_cast<size_t>(bytes));
  std::fill(memory.data(), memory.data() + bytes, std::byte{1});  // else all of it would be one page of zeros
  return memory;
}

void measure_special_units(ThreadPool& pool, Roofs& roofs) {
  const CpuUnits have = cpu_units();
  auto add = [&](bool there, const char* unit, Arithmetic kind, UnitLoop loop) {
    if (there) roofs.units.push_back({unit, kind, measure_unit(pool, loop.run, loop.ops)});
  };
  add(have.avx_vnni, "avx-vnni", Arithmetic::Int8, avx_vnni_int8_loop());
  add(have.avx512_bf16, "avx512-bf16", Arithmetic::Bfloat16, avx512_bf16_loop());
  add(have.amx_int8, "amx", Arithmetic::Int8, amx_int8_loop());
  add(have.amx_bf16, "amx", Arithmetic::Bfloat16, amx_bf16_loop());
}

// The units of an instruction set; returns its loops.
RoofKernels measure_units(ThreadPool& pool, CpuIsa isa, Roofs& roofs) {
  const RoofKernels kernels = kernels_of(isa);
  const std::string unit(sgl::name(isa));
  roofs.units.push_back({unit, Arithmetic::Float32, measure_unit(pool, kernels.float_fmas, kernels.float_ops)});
  roofs.units.push_back({isa == CpuIsa::Avx512 ? unit + "-vnni" : unit, Arithmetic::Int8,
                         measure_unit(pool, kernels.int8_dots, kernels.int8_ops)});
  return kernels;
}

// Those of the widest vectors: instruction sets above have none of their own.
CpuIsa widest_isa() {
  CpuIsa widest = CpuIsa::Generic;
  for (CpuIsa isa : available_isas()) {
    if (isa <= CpuIsa::Avx512) widest = std::max(widest, isa);
  }
  return widest;
}

}  // namespace

const Roofs::Unit* Roofs::best(Arithmetic kind) const {
  const Unit* best = nullptr;
  for (const Unit& u : units) {
    if (u.kind == kind && (best == nullptr || u.ops_s > best->ops_s)) best = &u;
  }
  return best;
}

const Roofs::Unit* Roofs::best_or_float(Arithmetic kind) const {
  const Unit* unit = best(kind);
  return unit == nullptr ? best(Arithmetic::Float32) : unit;
}

double Roofs::read_bytes_s(int64_t working_set) const {
  auto above = std::find_if(read.begin(), read.end(), [&](const auto& r) { return r.first >= working_set; });
  if (above == read.begin()) return read.front().second;
  if (above == read.end()) return read.back().second;
  const auto below = std::prev(above);
  const double share = std::log(static_cast<double>(working_set) / static_cast<double>(below->first)) /
                       std::log(static_cast<double>(above->first) / static_cast<double>(below->first));
  return std::lerp(below->second, above->second, share);
}

Roofs measure_roofs(ThreadPool& pool, int64_t largest) {
  Roofs roofs;
  RoofKernels widest{};
  for (CpuIsa isa : available_isas()) {
    if (isa <= CpuIsa::Avx512) widest = measure_units(pool, isa, roofs);
  }
  measure_special_units(pool, roofs);

  if (const int64_t available = available_memory(); available > 0) largest = std::min(largest, available / 2);
  for (int64_t bytes : kReadSizes) {
    if (bytes > std::max(largest, kReadSizes[0])) break;
    roofs.read.emplace_back(bytes, measure_read(pool, widest, filled_memory(bytes)).best);
  }
  return roofs;
}

RoofProbe::RoofProbe(ThreadPool& pool, int64_t working_set)
    : pool_(pool), memory_(filled_memory(std::max<int64_t>(working_set / 1024 * 1024, kReadSizes[0]))) {}

int64_t RoofProbe::bytes() const { return static_cast<int64_t>(memory_.bytes()); }

Roofs RoofProbe::measure() {
  Roofs roofs;
  const RoofKernels kernels = measure_units(pool_, widest_isa(), roofs);
  measure_special_units(pool_, roofs);
  roofs.read.emplace_back(memory_.bytes(), measure_read(pool_, kernels, memory_).median);
  return roofs;
}

nlohmann::ordered_json to_json(const Roofs& roofs) {
  nlohmann::ordered_json out;
  for (const Roofs::Unit& u : roofs.units) {
    out["units"].push_back({{"unit", u.name}, {"arithmetic", name(u.kind)}, {"gop_s", u.ops_s / 1e9}});
  }
  for (const auto& [bytes, speed] : roofs.read) {
    out["read"].push_back({{"bytes", bytes}, {"gb_s", speed / 1e9}});
    if (roofs.copied) out["read"].back()["copied"] = true;
  }
  return out;
}

std::string table(const Roofs& roofs) {
  std::string out = fmt::format("roofs, measured now:\n  {} ", roofs.copied ? "copy" : "read");
  for (const auto& [bytes, speed] : roofs.read) {
    const bool small = bytes < int64_t{1} << 20;
    out += fmt::format(" {:.0f} GB/s of {} {}{}", speed / 1e9, bytes >> (small ? 10U : 20U), small ? "KiB" : "MiB",
                       bytes == roofs.read.back().first ? "\n" : ",");
  }
  for (Arithmetic kind : {Arithmetic::Int8, Arithmetic::Bfloat16, Arithmetic::Float32}) {
    std::string line;
    for (const Roofs::Unit& u : roofs.units) {
      if (u.kind == kind) line += fmt::format("{} {:.0f} by {}", line.empty() ? "" : ",", u.ops_s / 1e9, u.name);
    }
    if (!line.empty()) out += fmt::format("  {:8}{} GOP/s\n", name(kind), line);
  }
  return out;
}

}  // namespace sgl::bench
