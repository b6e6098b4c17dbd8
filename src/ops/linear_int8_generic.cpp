#define SGL_ISA generic
#include "ops/linear_int8.inl"
