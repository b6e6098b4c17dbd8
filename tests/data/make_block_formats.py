#!/usr/bin/env python3
"""Makes block_formats.bin: random blocks of every number format and what the `gguf` package (llama.cpp's) decodes them to.

    pip install gguf==0.19.0 && python3 make_block_formats.py

For each format: name (16 bytes, zero-padded), u32 bytes of the blocks, u32 number of floats, the blocks, the floats.
Scales are finite binary16 numbers of all sizes, subnormal, zero and negative ones among them; all other bits are random.
"""
import struct
from pathlib import Path

import numpy as np
from gguf import GGML_QUANT_SIZES, GGMLQuantizationType as T
from gguf.quants import dequantize

# Offsets of the binary16 fields in a block.
HALVES = {T.Q4_0: [0], T.Q4_1: [0, 2], T.Q5_0: [0], T.Q5_1: [0, 2], T.Q8_0: [0], T.IQ4_NL: [0], T.Q2_K: [80, 82],
          T.Q3_K: [108], T.Q4_K: [0, 2], T.Q5_K: [0, 2], T.Q6_K: [208], T.F16: [0], T.BF16: []}
SPECIAL = [0x0000, 0x8000, 0x0001, 0x83ff, 0x0400, 0x7bff, 0xfbff, 0x3c00]


def finite_halves(rng, n):
    bits = rng.integers(0, 0x10000, n).astype(np.uint16)
    bits[(bits & 0x7c00) == 0x7c00] &= 0x83ff
    return bits


def blocks_of(rng, dtype, n):
    _, size = GGML_QUANT_SIZES[dtype]
    blocks = rng.integers(0, 256, (n, size)).astype(np.uint8)
    for i, offset in enumerate(HALVES[dtype]):
        bits = finite_halves(rng, n)
        special = np.roll(SPECIAL, i)[: n // 2]
        bits[: len(special)] = special
        blocks[:, offset : offset + 2] = bits.view(np.uint8).reshape(n, 2)
    if dtype == T.BF16:
        blocks[(blocks[:, 1] & 0x7f) == 0x7f, 0] &= 0x7f  # exponent all ones: neither infinity nor NaN
    return blocks


def main():
    rng = np.random.default_rng(20240229)
    out = b""
    for dtype in HALVES:
        elements, _ = GGML_QUANT_SIZES[dtype]
        n = {1: 256, 32: 16, 256: 4}[elements]
        blocks = blocks_of(rng, dtype, n)
        floats = dequantize(blocks.reshape(-1), dtype).astype(np.float32).reshape(-1)
        assert np.isfinite(floats).all() and floats.size == n * elements
        out += struct.pack("<16sII", dtype.name.encode(), blocks.size, floats.size) + blocks.tobytes() + floats.tobytes()
    (Path(__file__).parent / "block_formats.bin").write_bytes(out)


main()
