#define SGL_ISA avx2
#include "ops/vector.inl"
