#define SGL_ISA avx512
#include "ops/linear_int8.inl"
