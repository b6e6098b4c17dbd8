#define SGL_ISA avx512
#include "bench/roof.inl"
