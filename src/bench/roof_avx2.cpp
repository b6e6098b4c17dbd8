#define SGL_ISA avx2
#include "bench/roof.inl"
