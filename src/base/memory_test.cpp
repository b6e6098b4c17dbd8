#include "base/memory.h"

#include <cstring>
#include <linux/mempolicy.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <gtest/gtest.h>

namespace sgl {
namespace {

using Numbers = std::vector<int>;

TEST(NumberList, ReadsWhatLinuxWrites) {
  EXPECT_EQ(parse_number_list("0"), Numbers{0});
  EXPECT_EQ(parse_number_list("0-2,5,7-8"), (Numbers{0, 1, 2, 5, 7, 8}));
  for (const char* wrong : {"", "x", "1,", ",1", "3-1", "1-", "-1", "1-2-3", "99999"}) {
    EXPECT_EQ(parse_number_list(wrong), Numbers{}) << wrong;
  }
}

TEST(MapMemory, LargeMappingsAreInterleavedWhenAsked) {
  auto policy_of = [](void* p) {
    int policy = -1;
    if (::syscall(SYS_get_mempolicy, &policy, nullptr, 0UL, p, static_cast<unsigned long>(MPOL_F_ADDR)) != 0) return -1;
    return policy;
  };
  constexpr size_t kSize = size_t{8} << 20;
  void* local = map_memory(kSize);
  const int before = policy_of(local);
  set_numa(Numa::Interleave);
  void* spread = map_memory(kSize);
  void* small = map_memory(4096);
  set_numa(Numa::Local);
  void* after = map_memory(kSize);
  std::memset(spread, 1, kSize);
  const int policies[] = {policy_of(spread), policy_of(small), policy_of(after)};
  unmap_memory(local, kSize);
  unmap_memory(spread, kSize);
  unmap_memory(small, 4096);
  unmap_memory(after, kSize);
  if (before < 0) GTEST_SKIP() << "this kernel does not tell memory policies";
  EXPECT_FALSE(memory_nodes().empty());
  EXPECT_EQ(policies[0], MPOL_INTERLEAVE);
  EXPECT_EQ(policies[1], before);
  EXPECT_EQ(policies[2], before);
}

}  // namespace
}  // namespace sgl
