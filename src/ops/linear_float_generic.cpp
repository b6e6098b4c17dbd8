#define SGL_ISA generic
#include "ops/linear_float.inl"
