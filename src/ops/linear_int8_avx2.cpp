#define SGL_ISA avx2
#include "ops/linear_int8.inl"
