// What ranks of tensor parallelism do together, for devices whose memory is the host's: each reads the parts of all.

#include <algorithm>
#include <cstring>

#include <fmt/format.h>

#include "ops/ref_backend.h"
#include "sgl/error.h"

namespace sgl {
namespace {

// to[:] += part[i, :] of every rank, in their order. Parts are [n, d] in float32, without gaps.
void add_parts(const RankGroup::Meeting& meeting, int64_t i, float* to, int64_t d) {
  for (const void* part : meeting.pointers) {
    const float* row = static_cast<const float*>(part) + i * d;
    for (int64_t j = 0; j < d; ++j) to[j] += row[j];
  }
}

}  // namespace

void check_gathered(Tensor out, Tensor part, int ranks) {
  check_shapes("gather_parts", {{"out", out, "n v"}, {"part", part, "n d"}});
  if (out.cols() != ranks * part.cols() || out.dtype != DType::F32 || part.dtype != DType::F32) {
    throw Error(ErrorKind::Internal, fmt::format("gather_parts: out is {}, part {}; expected {} parts beside each "
                                                 "other, in float32",
                                                 to_string(out.shape), to_string(part.shape), ranks));
  }
}

void RefBackend::all_reduce(Tensor out, Tensor part) {
  check_shapes("all_reduce", {{"out", out, "n d"}, {"part", part, "n d"}});
  const RankGroup::Meeting meeting = meet(part);
  for (int64_t i = 0; i < out.rows(); ++i) {
    std::fill_n(out.f32(i), out.cols(), 0.0F);
    add_parts(meeting, i, out.f32(i), out.cols());
  }
  leave();
}

void RefBackend::all_reduce_norm(Normed& y, Tensor h, Tensor part, const NormWeight& norm) {
  check_shapes("all_reduce_norm", {{"y", y.x, "n d"}, {"h", h, "n d"}, {"part", part, "n d"}, {"norm", norm.w, "d"}});
  const RankGroup::Meeting meeting = meet(part);
  for (int64_t i = 0; i < h.rows(); ++i) add_parts(meeting, i, h.f32(i), h.cols());
  leave();
  rms_norm(y.x, h, norm.w, norm.eps);
  y.whole = true;
}

void RefBackend::gather_parts(Tensor out, Tensor part) {
  if (rank_ == 0) check_gathered(out, part, num_ranks());
  const RankGroup::Meeting meeting = meet(part);
  const int64_t d = part.cols();
  for (int64_t i = 0; rank_ == 0 && i < out.rows(); ++i) {
    float* to = out.f32(i);
    for (const void* each : meeting.pointers) {
      std::memcpy(to, static_cast<const float*>(each) + i * d, static_cast<size_t>(d) * sizeof(float));
      to += d;
    }
  }
  leave();
}

}  // namespace sgl
