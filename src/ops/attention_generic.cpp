#define SGL_ISA generic
#include "ops/attention.inl"
