#include "tensor/tensor.h"

#include <gtest/gtest.h>

namespace sgl {
namespace {

TEST(Tensor, SlicesAreViewsOfTheSameMemory) {
  std::vector<float> data(12);
  for (size_t i = 0; i < 12; ++i) data[i] = static_cast<float>(i);
  Tensor t(data.data(), DType::F32, {3, 4});
  EXPECT_EQ(t.rows(), 3);
  EXPECT_EQ(t.f32(2)[1], 9);
  Tensor rows = t.slice_rows(1, 2);
  EXPECT_EQ(rows.shape, (Shape{2, 4}));
  EXPECT_EQ(rows.f32(0)[0], 4);
  Tensor cols = t.slice_cols(2, 2);
  EXPECT_EQ(cols.rows(), 3);
  EXPECT_EQ(cols.row_stride, 4);
  EXPECT_EQ(cols.f32(2)[1], 11);
  EXPECT_EQ(cols.slice_rows(1, 1).f32(0)[0], 6);
}

TEST(Tensor, ShapesPrint) {
  EXPECT_EQ(to_string(Shape{2, 3, 4}), "[2, 3, 4]");
  EXPECT_EQ((Shape{2, 3, 4}.elements()), 24);
}

TEST(Arena, GrowsOnceAndThenReuses) {
  int allocations = 0;
  Arena arena([&](size_t n) {
    ++allocations;
    return allocate_host(n);
  });
  for (int step = 0; step < 5; ++step) {
    arena.reset();
    Tensor a = arena.alloc(DType::F32, {10, 100});
    Tensor b = arena.alloc(DType::F32, {7});
    EXPECT_EQ(reinterpret_cast<uintptr_t>(a.data) % 64, 0U);
    EXPECT_EQ(reinterpret_cast<uintptr_t>(b.data) % 64, 0U);
    for (int64_t i = 0; i < 10; ++i) a.f32(i)[99] = 1;
    b.f32()[6] = 2;
    EXPECT_EQ(a.f32(9)[99], 1);
  }
  EXPECT_EQ(allocations, 3);  // two in the first step, one block for both in the second
}

TEST(Arena, AScopeGivesBackWhatWasAllocatedInIt) {
  size_t largest = 0;
  Arena arena([&](size_t n) {
    largest = std::max(largest, n);
    return allocate_host(n);
  });
  for (int step = 0; step < 3; ++step) {
    arena.reset();
    Tensor kept = arena.alloc(DType::F32, {100});
    kept.f32()[99] = 7;
    for (int i = 0; i < 50; ++i) {
      Arena::Scope scope(arena);
      Tensor a = arena.alloc(DType::F32, {1000});
      Arena::Scope inner(arena);
      Tensor b = arena.alloc(DType::F32, {1000});
      a.f32()[999] = 1;
      b.f32()[0] = 2;
      EXPECT_EQ(a.f32()[999], 1);
    }
    EXPECT_EQ(kept.f32()[99], 7);
  }
  EXPECT_LT(largest, 3 * 4096U) << "the block holds one round, not fifty";
}

TEST(Buffer, MovesItsMemory) {
  Buffer a = allocate_host(100);
  std::byte* p = a.data();
  Buffer b = std::move(a);
  EXPECT_EQ(b.data(), p);
  b = allocate_host(0);
  EXPECT_EQ(b.data(), nullptr);
}

}  // namespace
}  // namespace sgl
