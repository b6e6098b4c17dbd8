#define SGL_ISA avx512
#include "ops/roof.inl"
