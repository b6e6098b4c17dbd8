#define SGL_ISA generic
#include "ops/vector.inl"
