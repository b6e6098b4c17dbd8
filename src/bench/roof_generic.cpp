#define SGL_ISA generic
#include "bench/roof.inl"
