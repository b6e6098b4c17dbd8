#define SGL_ISA avx2
#include "ops/roof.inl"
