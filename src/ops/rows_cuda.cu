// Ops that take a row at a time: norms, rotary embedding, activations, look-ups. All are bound by memory; a block reads
// its row in pieces of eight elements a thread where rows are aligned, and sums in float32.

#include <cstdint>

#include "ops/device_cuda.h"
#include "ops/kernels_cuda.h"

namespace sgl::cuda {
namespace {

// A grid of [rows, pieces of a row]: thread (x, y) has row x and one piece of V elements.
template <int V>
dim3 pieces(int64_t rows, int64_t cols, unsigned& threads) {
  const int64_t n = cols / V;
  threads = threads_for(n, 256);
  return dim3(static_cast<unsigned>(rows), static_cast<unsigned>((n + threads - 1) / threads));
}
template <int V>
__device__ int64_t piece() {
  return (int64_t{blockIdx.y} * blockDim.x + threadIdx.x) * V;
}

template <typename X, typename O, int V>
__global__ void convert_kernel(O* out, int64_t out_stride, const X* x, int64_t x_stride, int64_t cols) {
  enter();
  const int64_t row = blockIdx.x, at = piece<V>();
  if (at < cols) store<V>(out + row * out_stride + at, load<V>(x + row * x_stride + at));
}

template <typename T, int V>
__global__ void add_bias_kernel(T* y, int64_t stride, const float* bias, int64_t cols) {
  enter();
  const int64_t at = piece<V>();
  if (at >= cols) return;
  T* p = y + int64_t{blockIdx.x} * stride + at;
  Floats<V> f = load<V>(p);
  const Floats<V> b = load<V>(bias + at);
#pragma unroll
  for (int i = 0; i < V; ++i) f.at[i] += b.at[i];
  store<V>(p, f);
}

// out[i] (+)= table[ids[i]] · scale; an id of −1 − j is chosen[j].
template <typename T, typename O, int V, bool kAdd>
__global__ void embedding_kernel(O* out, int64_t out_stride, const int32_t* ids, const int32_t* chosen, const T* table,
                                 int64_t table_stride, int64_t cols, float scale) {
  enter();
  const int64_t row = blockIdx.x, at = piece<V>();
  if (at >= cols) return;
  const int32_t id = ids[row] < 0 ? chosen[-1 - ids[row]] : ids[row];
  Floats<V> f = load<V>(table + id * table_stride + at);
  O* to = out + row * out_stride + at;
  Floats<V> sum{};
  if constexpr (kAdd) sum = load<V>(to);
#pragma unroll
  for (int i = 0; i < V; ++i) f.at[i] = sum.at[i] + f.at[i] * scale;
  store<V>(to, f);
}

// out = x · inv · w, by the vectors that the thread read before.
template <int V, typename X, typename O>
__device__ void write_scaled(O* out, const X* x, const float* w, int d, float inv) {
  for_own_vectors<V>(d, [&](int at) {
    Floats<V> f = load<V>(x + at);
    const Floats<V> g = load<V>(w + at);
#pragma unroll
    for (int i = 0; i < V; ++i) f.at[i] = f.at[i] * inv * g.at[i];
    store<V>(out + at, f);
  });
}

// Block (i, g): group g of row i.
template <typename X, typename O, int V>
__global__ void rms_norm_kernel(O* out, int64_t out_stride, const X* x, int64_t x_stride, const float* w, int d,
                                float eps) {
  enter();
  x += blockIdx.x * x_stride + int64_t{blockIdx.y} * d;
  out += blockIdx.x * out_stride + int64_t{blockIdx.y} * d;
  float sum = 0;
  for_own_vectors<V>(d, [&](int at) {
    const Floats<V> f = load<V>(x + at);
#pragma unroll
    for (int i = 0; i < V; ++i) sum += f.at[i] * f.at[i];
  });
  const float inv = rsqrtf(block_sum(sum) / static_cast<float>(d) + eps);
  write_scaled<V>(out, x, w, d, inv);
}

template <typename X, typename O, int V>
__global__ void add_rms_norm_kernel(O* out, int64_t out_stride, float* h, int64_t h_stride, const X* x,
                                    int64_t x_stride, const float* w, int d, float eps) {
  enter();
  x += blockIdx.x * x_stride;
  h += blockIdx.x * h_stride;
  out += blockIdx.x * out_stride;
  float sum = 0;
  for_own_vectors<V>(d, [&](int at) {
    Floats<V> f = load<V>(h + at);
    const Floats<V> add = load<V>(x + at);
#pragma unroll
    for (int i = 0; i < V; ++i) {
      f.at[i] += add.at[i];
      sum += f.at[i] * f.at[i];
    }
    store<V>(h + at, f);
  });
  const float inv = rsqrtf(block_sum(sum) / static_cast<float>(d) + eps);
  // Each thread reads back what it wrote itself.
  write_scaled<V>(out, h, w, d, inv);
}

template <typename T, int V>
__global__ void finish_norm_kernel(T* out, int64_t out_stride, const T* x, int64_t x_stride, const float* squares,
                                   int64_t squares_stride, int count, int d, float eps) {
  enter();
  x += blockIdx.x * x_stride;
  out += blockIdx.x * out_stride;
  float sum = 0;
  for (int i = static_cast<int>(threadIdx.x); i < count; i += static_cast<int>(blockDim.x)) {
    sum += squares[blockIdx.x * squares_stride + i];
  }
  const float inv = rsqrtf(block_sum(sum) / static_cast<float>(d) + eps);
  for_own_vectors<V>(d, [&](int at) {
    Floats<V> f = load<V>(x + at);
#pragma unroll
    for (int i = 0; i < V; ++i) f.at[i] *= inv;
    store<V>(out + at, f);
  });
}

template <typename X, typename O, int V>
__global__ void layer_norm_kernel(O* out, int64_t out_stride, const X* x, int64_t x_stride, const float* w,
                                  const float* b, int d, float eps) {
  enter();
  x += blockIdx.x * x_stride;
  out += blockIdx.x * out_stride;
  auto each = [&](auto body) { for_own_vectors<V>(d, [&](int at) { body(at, load<V>(x + at)); }); };
  float sum = 0;
  each([&](int, const Floats<V>& f) {
#pragma unroll
    for (int i = 0; i < V; ++i) sum += f.at[i];
  });
  const float mean = block_sum(sum) / static_cast<float>(d);
  sum = 0;
  each([&](int, const Floats<V>& f) {
#pragma unroll
    for (int i = 0; i < V; ++i) sum += (f.at[i] - mean) * (f.at[i] - mean);
  });
  const float inv = rsqrtf(block_sum(sum) / static_cast<float>(d) + eps);
  each([&](int at, Floats<V> f) {
    const Floats<V> g = load<V>(w + at), add = load<V>(b + at);
#pragma unroll
    for (int i = 0; i < V; ++i) f.at[i] = (f.at[i] - mean) * inv * g.at[i] + add.at[i];
    store<V>(out + at, f);
  });
}

__global__ void rope_table_kernel(float* out, int64_t stride, const int32_t* positions, const float* inv_freq,
                                  int pairs, float factor) {
  enter();
  const int j = static_cast<int>(threadIdx.x);
  float* row = out + blockIdx.x * stride;
  const float angle = static_cast<float>(positions[blockIdx.x]) * inv_freq[j];
  row[j] = cosf(angle) * factor;
  row[pairs + j] = sinf(angle) * factor;
}

// Piece p of row i turns V pairs of one head.
template <typename T, int V, bool kInterleaved>
__global__ void rope_kernel(T* x, int64_t stride, const float* cos_sin, int64_t table_stride, int half, int head_dim,
                            int heads) {
  enter();
  const int64_t at = piece<V>();
  const int head = static_cast<int>(at / half), j = static_cast<int>(at % half);
  if (head >= heads) return;
  T* p = x + blockIdx.x * stride + int64_t{head} * head_dim;
  const float* table = cos_sin + blockIdx.x * table_stride;
  T* first = kInterleaved ? p + 2 * j : p + j;
  T* second = kInterleaved ? p + 2 * j + 1 : p + j + half;
  Floats<V> a = load<V>(first), b = load<V>(second);
  const Floats<V> c = load<V>(table + j), s = load<V>(table + half + j);
#pragma unroll
  for (int i = 0; i < V; ++i) {
    const float a0 = a.at[i], b0 = b.at[i];
    a.at[i] = a0 * c.at[i] - b0 * s.at[i];
    b.at[i] = a0 * s.at[i] + b0 * c.at[i];
  }
  store<V>(first, a);
  store<V>(second, b);
}

template <typename T, int V>
__global__ void gated_act_kernel(T* out, int64_t out_stride, const T* x, int64_t x_stride, int64_t d, Act act) {
  enter();
  const int64_t at = piece<V>();
  if (at >= d) return;
  x += blockIdx.x * x_stride + at;
  Floats<V> gate = load<V>(x);
  const Floats<V> up = load<V>(x + d);
#pragma unroll
  for (int i = 0; i < V; ++i) gate.at[i] = activate(gate.at[i], act) * up.at[i];
  store<V>(out + blockIdx.x * out_stride + at, gate);
}

template <typename T, int V>
__global__ void activation_kernel(T* out, int64_t out_stride, const T* x, int64_t x_stride, int64_t d, Act act) {
  enter();
  const int64_t at = piece<V>();
  if (at >= d) return;
  Floats<V> f = load<V>(x + blockIdx.x * x_stride + at);
#pragma unroll
  for (int i = 0; i < V; ++i) f.at[i] = activate(f.at[i], act);
  store<V>(out + blockIdx.x * out_stride + at, f);
}

template <typename T, int V>
__global__ void add_kernel(float* h, int64_t h_stride, const T* x, int64_t x_stride, int64_t d) {
  enter();
  const int64_t at = piece<V>();
  if (at >= d) return;
  float* to = h + blockIdx.x * h_stride + at;
  Floats<V> sum = load<V>(to);
  const Floats<V> f = load<V>(x + blockIdx.x * x_stride + at);
#pragma unroll
  for (int i = 0; i < V; ++i) sum.at[i] += f.at[i];
  store<V>(to, sum);
}

template <int V>
__global__ void softcap_kernel(float* x, int64_t stride, int64_t d, float cap) {
  enter();
  const int64_t at = piece<V>();
  if (at >= d) return;
  float* p = x + blockIdx.x * stride + at;
  Floats<V> f = load<V>(p);
#pragma unroll
  for (int i = 0; i < V; ++i) f.at[i] = cap * tanhf(f.at[i] / cap);
  store<V>(p, f);
}

// Piece p of token i: V elements of a head's key and value.
template <typename T, typename C, int V>
__global__ void store_kv_kernel(C* k_pages, C* v_pages, const T* k, int64_t k_stride, const T* v, int64_t v_stride,
                                const int32_t* slots, int page_size, int heads, int head_dim) {
  enter();
  const int64_t at = piece<V>();
  const int64_t head = at / head_dim, j = at % head_dim;
  if (head >= heads) return;
  const int64_t slot = slots[blockIdx.x], page = slot / page_size, offset = slot % page_size;
  const int64_t to = ((page * heads + head) * page_size + offset) * head_dim + j;
  store<V>(k_pages + to, load<V>(k + blockIdx.x * k_stride + at));
  store<V>(v_pages + to, load<V>(v + blockIdx.x * v_stride + at));
}

// A block has the keys or the values of a page.
template <typename T>
__global__ void widen_pages_kernel(T* k_to, T* v_to, const E4m3* k, const E4m3* v, const int32_t* from,
                                   int64_t elements) {
  enter();
  const E4m3* codes = (blockIdx.y == 0 ? k : v) + from[blockIdx.x] * elements;
  T* to = (blockIdx.y == 0 ? k_to : v_to) + blockIdx.x * elements;
  for (int64_t i = int64_t{threadIdx.x} * 16; i < elements; i += int64_t{blockDim.x} * 16) {
    store<8>(to + i, load<8>(codes + i));
    store<8>(to + i + 8, load<8>(codes + i + 8));
  }
}

// Piece p of token i: eight pairs of a head of q or k, or twice eight elements of a head of v. q is turned in place; k,
// turned, and v go to their pages.
template <typename T, typename C>
__global__ void rope_store_kv_kernel(T* qkv, int64_t stride, const float* cos_sin, int64_t table_stride, C* k_pages,
                                     C* v_pages, const int32_t* slots, int page_size, int heads, int kv_heads,
                                     int head_dim, int rotary_half) {
  enter();
  const int half = head_dim / 2;
  const int64_t at = piece<8>();
  const int head = static_cast<int>(at / half), j = static_cast<int>(at % half);
  if (head >= heads + 2 * kv_heads) return;
  // Pair i of the part that turns is (i, i + rotary_half); what comes after it stands as it is.
  const int first = j < rotary_half ? j : 2 * j;
  const int second = j < rotary_half ? j + rotary_half : 2 * j + 8;
  T* p = qkv + blockIdx.x * stride + int64_t{head} * head_dim;
  Floats<8> a = load<8>(p + first), b = load<8>(p + second);
  if (head < heads + kv_heads && j < rotary_half) {
    const float* table = cos_sin + blockIdx.x * table_stride;
    const Floats<8> c = load<8>(table + j), s = load<8>(table + rotary_half + j);
#pragma unroll
    for (int i = 0; i < 8; ++i) {
      const float a0 = a.at[i], b0 = b.at[i];
      a.at[i] = a0 * c.at[i] - b0 * s.at[i];
      b.at[i] = a0 * s.at[i] + b0 * c.at[i];
    }
  }
  if (head < heads) {
    store<8>(p + first, a);
    store<8>(p + second, b);
    return;
  }
  const bool is_v = head >= heads + kv_heads;
  const int64_t kv_head = head - heads - (is_v ? kv_heads : 0);
  const int64_t slot = slots[blockIdx.x], page = slot / page_size, offset = slot % page_size;
  C* to = (is_v ? v_pages : k_pages) + ((page * kv_heads + kv_head) * page_size + offset) * head_dim;
  store<8>(to + first, a);
  store<8>(to + second, b);
}

// body(Type<T> of what is read, Type<T> of what is written, Width)
template <typename F>
void with_types(DType from, DType to, bool eights, F&& body) {
  with_type(from, [&](auto from_type) {
    with_type(to, [&](auto to_type) { with_width(eights, [&](auto width) { body(from_type, to_type, width); }); });
  });
}

}  // namespace

void convert(cudaStream_t stream, Tensor out, Tensor x) {
  if (x.rows() == 0) return;
  with_types(x.dtype, out.dtype, in_eights(x) && in_eights(out), [&](auto x_type, auto out_type, auto width) {
    using X = typename decltype(x_type)::type;
    using O = typename decltype(out_type)::type;
    unsigned threads = 0;
    const dim3 grid = pieces<width.value>(x.rows(), x.cols(), threads);
    launch(stream, grid, threads, 0, convert_kernel<X, O, width.value>, pointer<O>(out), out.row_stride, pointer<X>(x),
           x.row_stride, x.cols());
  });
}

void add_bias(cudaStream_t stream, Tensor y, Tensor bias) {
  if (y.rows() == 0) return;
  with_type(y.dtype, [&](auto type) {
    with_width(in_eights(y) && in_eights(bias), [&](auto width) {
      using T = typename decltype(type)::type;
      unsigned threads = 0;
      const dim3 grid = pieces<width.value>(y.rows(), y.cols(), threads);
      launch(stream, grid, threads, 0, add_bias_kernel<T, width.value>, pointer<T>(y), y.row_stride,
             pointer<float>(bias), y.cols());
    });
  });
}

namespace {
template <typename T, typename O, bool kAdd>
void look_up(cudaStream_t stream, Tensor out, const int32_t* ids, const int32_t* chosen, Tensor table, float scale) {
  if (out.rows() == 0) return;
  with_width(in_eights(out) && in_eights(table), [&](auto width) {
    unsigned threads = 0;
    const dim3 grid = pieces<width.value>(out.rows(), out.cols(), threads);
    launch(stream, grid, threads, 0, embedding_kernel<T, O, width.value, kAdd>, pointer<O>(out), out.row_stride, ids,
           chosen, pointer<T>(table), table.row_stride, out.cols(), scale);
  });
}
}  // namespace

void embedding(cudaStream_t stream, Tensor out, const int32_t* ids, const int32_t* chosen, Tensor table, float scale) {
  with_type(table.dtype, [&](auto type) {
    look_up<typename decltype(type)::type, float, false>(stream, out, ids, chosen, table, scale);
  });
}
void add_embedding(cudaStream_t stream, Tensor h, const int32_t* ids, Tensor table) {
  with_type(table.dtype, [&](auto type) {
    look_up<typename decltype(type)::type, float, true>(stream, h, ids, nullptr, table, 1.0F);
  });
}
void gather_rows(cudaStream_t stream, Tensor out, Tensor x, const int32_t* rows) {
  with_type(x.dtype, [&](auto type) {
    using T = typename decltype(type)::type;
    look_up<T, T, false>(stream, out, rows, nullptr, x, 1.0F);
  });
}

void rms_norm(cudaStream_t stream, Tensor out, Tensor x, Tensor w, float eps) {
  if (x.rows() == 0) return;
  const int64_t d = w.cols();
  const dim3 grid(static_cast<unsigned>(x.rows()), static_cast<unsigned>(x.cols() / d));
  with_types(
      x.dtype, out.dtype, in_eights(x) && in_eights(out) && in_eights(w), [&](auto x_type, auto out_type, auto width) {
        using X = typename decltype(x_type)::type;
        using O = typename decltype(out_type)::type;
        launch(stream, grid, threads_for(d / width.value), 0, rms_norm_kernel<X, O, width.value>, pointer<O>(out),
               out.row_stride, pointer<X>(x), x.row_stride, pointer<float>(w), static_cast<int>(d), eps);
      });
}

void add_rms_norm(cudaStream_t stream, Tensor out, Tensor h, Tensor x, Tensor w, float eps) {
  if (x.rows() == 0) return;
  const int64_t d = w.cols();
  with_types(x.dtype, out.dtype, in_eights(x) && in_eights(out) && in_eights(h) && in_eights(w),
             [&](auto x_type, auto out_type, auto width) {
               using X = typename decltype(x_type)::type;
               using O = typename decltype(out_type)::type;
               launch(stream, static_cast<unsigned>(x.rows()), threads_for(d / width.value), 0,
                      add_rms_norm_kernel<X, O, width.value>, pointer<O>(out), out.row_stride, pointer<float>(h),
                      h.row_stride, pointer<X>(x), x.row_stride, pointer<float>(w), static_cast<int>(d), eps);
             });
}

void finish_norm(cudaStream_t stream, Tensor y, const Normed& x) {
  if (y.rows() == 0) return;
  with_type(y.dtype, [&](auto type) {
    with_width(in_eights(x.x) && in_eights(y), [&](auto width) {
      using T = typename decltype(type)::type;
      launch(stream, static_cast<unsigned>(y.rows()), threads_for(y.cols() / width.value), 0,
             finish_norm_kernel<T, width.value>, pointer<T>(y), y.row_stride, pointer<T>(x.x), x.x.row_stride,
             pointer<float>(x.squares), x.squares.row_stride, static_cast<int>(x.squares.cols()),
             static_cast<int>(y.cols()), x.eps);
    });
  });
}

void layer_norm(cudaStream_t stream, Tensor out, Tensor x, Tensor w, Tensor b, float eps) {
  if (x.rows() == 0) return;
  const int64_t d = w.cols();
  with_types(x.dtype, out.dtype, in_eights(x) && in_eights(out) && in_eights(w) && in_eights(b),
             [&](auto x_type, auto out_type, auto width) {
               using X = typename decltype(x_type)::type;
               using O = typename decltype(out_type)::type;
               launch(stream, static_cast<unsigned>(x.rows()), threads_for(d / width.value), 0,
                      layer_norm_kernel<X, O, width.value>, pointer<O>(out), out.row_stride, pointer<X>(x),
                      x.row_stride, pointer<float>(w), pointer<float>(b), static_cast<int>(d), eps);
             });
}

void rope_table(cudaStream_t stream, Tensor cos_sin, const int32_t* positions, const float* inv_freq, float factor) {
  if (cos_sin.rows() == 0) return;
  const int pairs = static_cast<int>(cos_sin.cols() / 2);
  launch(stream, static_cast<unsigned>(cos_sin.rows()), static_cast<unsigned>(pairs), 0, rope_table_kernel,
         pointer<float>(cos_sin), cos_sin.row_stride, positions, inv_freq, pairs, factor);
}

void rope(cudaStream_t stream, Tensor x, Tensor cos_sin, int head_dim, bool interleaved) {
  if (x.rows() == 0) return;
  const int half = static_cast<int>(cos_sin.cols() / 2), heads = static_cast<int>(x.cols() / head_dim);
  const bool eights = !interleaved && in_eights(x) && in_eights(cos_sin) && half % 8 == 0 && head_dim % 8 == 0;
  with_type(x.dtype, [&](auto type) {
    using T = typename decltype(type)::type;
    unsigned threads = 0;
    if (interleaved) {
      const dim3 grid = pieces<1>(x.rows(), int64_t{heads} * half, threads);
      launch(stream, grid, threads, 0, rope_kernel<T, 1, true>, pointer<T>(x), x.row_stride, pointer<float>(cos_sin),
             cos_sin.row_stride, half, head_dim, heads);
      return;
    }
    with_width(eights, [&](auto width) {
      const dim3 grid = pieces<width.value>(x.rows(), int64_t{heads} * half, threads);
      launch(stream, grid, threads, 0, rope_kernel<T, width.value, false>, pointer<T>(x), x.row_stride,
             pointer<float>(cos_sin), cos_sin.row_stride, half, head_dim, heads);
    });
  });
}

void gated_act(cudaStream_t stream, Tensor out, Tensor x, Act act) {
  if (x.rows() == 0) return;
  with_type(x.dtype, [&](auto type) {
    with_width(in_eights(x) && in_eights(out), [&](auto width) {
      using T = typename decltype(type)::type;
      unsigned threads = 0;
      const dim3 grid = pieces<width.value>(out.rows(), out.cols(), threads);
      launch(stream, grid, threads, 0, gated_act_kernel<T, width.value>, pointer<T>(out), out.row_stride, pointer<T>(x),
             x.row_stride, out.cols(), act);
    });
  });
}

void activation(cudaStream_t stream, Tensor out, Tensor x, Act act) {
  if (x.rows() == 0) return;
  with_type(x.dtype, [&](auto type) {
    with_width(in_eights(x) && in_eights(out), [&](auto width) {
      using T = typename decltype(type)::type;
      unsigned threads = 0;
      const dim3 grid = pieces<width.value>(out.rows(), out.cols(), threads);
      launch(stream, grid, threads, 0, activation_kernel<T, width.value>, pointer<T>(out), out.row_stride,
             pointer<T>(x), x.row_stride, out.cols(), act);
    });
  });
}

void add(cudaStream_t stream, Tensor h, Tensor x) {
  if (x.rows() == 0) return;
  with_type(x.dtype, [&](auto type) {
    with_width(in_eights(x) && in_eights(h), [&](auto width) {
      using T = typename decltype(type)::type;
      unsigned threads = 0;
      const dim3 grid = pieces<width.value>(x.rows(), x.cols(), threads);
      launch(stream, grid, threads, 0, add_kernel<T, width.value>, pointer<float>(h), h.row_stride, pointer<T>(x),
             x.row_stride, x.cols());
    });
  });
}

void softcap(cudaStream_t stream, Tensor x, float cap) {
  if (x.rows() == 0) return;
  with_width(in_eights(x), [&](auto width) {
    unsigned threads = 0;
    const dim3 grid = pieces<width.value>(x.rows(), x.cols(), threads);
    launch(stream, grid, threads, 0, softcap_kernel<width.value>, pointer<float>(x), x.row_stride, x.cols(), cap);
  });
}

bool can_rope_store_kv(const KvView& kv, const Tensor& qkv, const Tensor& cos_sin) {
  return in_eights(qkv) && in_eights(cos_sin) && kv.head_dim % 16 == 0 && cos_sin.cols() % 16 == 0;
}

void rope_store_kv(cudaStream_t stream, const KvView& kv, Tensor qkv, Tensor cos_sin, const int32_t* slots) {
  if (qkv.rows() == 0) return;
  const auto heads = static_cast<int>(qkv.cols() / kv.head_dim) - 2 * kv.num_kv_heads;
  with_type(qkv.dtype, [&](auto type) {
    with_cache_type(kv.dtype, [&](auto kv_type) {
      using T = typename decltype(type)::type;
      using C = typename decltype(kv_type)::type;
      unsigned threads = 0;
      const dim3 grid = pieces<8>(qkv.rows(), qkv.cols() / 2, threads);
      launch(stream, grid, threads, 0, rope_store_kv_kernel<T, C>, pointer<T>(qkv), qkv.row_stride,
             pointer<float>(cos_sin), cos_sin.row_stride, reinterpret_cast<C*>(kv.k), reinterpret_cast<C*>(kv.v), slots,
             kv.page_size, heads, kv.num_kv_heads, kv.head_dim, static_cast<int>(cos_sin.cols() / 2));
    });
  });
}

void store_kv(cudaStream_t stream, const KvView& kv, Tensor k, Tensor v, const int32_t* slots) {
  if (k.rows() == 0) return;
  const bool eights = in_eights(k) && in_eights(v) && kv.head_dim % 8 == 0;
  with_type(k.dtype, [&](auto type) {
    with_cache_type(kv.dtype, [&](auto kv_type) {
      with_width(eights, [&](auto width) {
        using T = typename decltype(type)::type;
        using C = typename decltype(kv_type)::type;
        unsigned threads = 0;
        const dim3 grid = pieces<width.value>(k.rows(), k.cols(), threads);
        launch(stream, grid, threads, 0, store_kv_kernel<T, C, width.value>, reinterpret_cast<C*>(kv.k),
               reinterpret_cast<C*>(kv.v), pointer<T>(k), k.row_stride, pointer<T>(v), v.row_stride, slots,
               kv.page_size, kv.num_kv_heads, kv.head_dim);
      });
    });
  });
}

void widen_pages(cudaStream_t stream, const KvView& wide, const KvView& kv, const int32_t* from, int count) {
  if (count == 0) return;
  const int64_t elements = int64_t{kv.page_size} * kv.num_kv_heads * kv.head_dim;
  const auto threads = threads_for(elements / 16, 256);
  const dim3 grid(static_cast<unsigned>(count), 2);
  with_type(wide.dtype, [&](auto type) {
    using T = typename decltype(type)::type;
    launch(stream, grid, threads, 0, widen_pages_kernel<T>, reinterpret_cast<T*>(wide.k), reinterpret_cast<T*>(wide.v),
           reinterpret_cast<const E4m3*>(kv.k), reinterpret_cast<const E4m3*>(kv.v), from, elements);
  });
}

}  // namespace sgl::cuda
