#define SGL_ISA generic
#include "ops/roof.inl"
