#!/usr/bin/env python3
"""Makes packed_weights.safetensors: one matrix as AutoAWQ, AutoGPTQ and compressed-tensors pack it, by their own code, and
the numbers that their own code unpacks. Needs torch, numpy and safetensors, and the sources unpacked beside each other:

    pip download --no-deps autoawq==0.2.9 auto-gptq==0.7.1 compressed-tensors==0.20.0
    python3 make_packed_weights.py AUTOAWQ_FOLDER AUTO_GPTQ_FOLDER COMPRESSED_TENSORS_FOLDER

Modules are loaded without their packages' __init__, which want a GPU. Names are METHOD.TENSOR, as in a checkpoint, and
METHOD.expected [out, in] in float32.
"""
import importlib
import sys
import types
from pathlib import Path

import torch
from safetensors.torch import save_file

OUT, IN, GROUP = 32, 128, 32


def package(name, folder):
    module = types.ModuleType(name)
    module.__path__ = [str(folder)]
    sys.modules[name] = module


def quantized(generator, least_zero):
    """Weights on a grid: codes, zero points and scales of each group, [out, in] and [out, groups]."""
    codes = torch.randint(0, 16, (OUT, IN), generator=generator)
    zeros = torch.randint(least_zero, 16, (OUT, IN // GROUP), generator=generator)
    scales = (torch.rand(OUT, IN // GROUP, generator=generator) * 0.01 + 0.001).half()
    each = lambda t: t.repeat_interleave(GROUP, dim=1)
    linear = torch.nn.Linear(IN, OUT, bias=False)
    linear.weight.data = (codes - each(zeros)) * each(scales).float()
    return linear, codes, zeros, scales


def awq(folder, generator):
    for name in ("awq", "awq.modules", "awq.modules.linear", "awq.utils"):
        package(name, folder / name.replace(".", "/"))
    utils = types.ModuleType("awq.utils.utils")
    utils.get_best_device = lambda: "cpu"
    sys.modules["awq.utils.utils"] = utils
    gemm = importlib.import_module("awq.modules.linear.gemm")
    packing = importlib.import_module("awq.utils.packing_utils")
    linear, _, zeros, scales = quantized(generator, 0)
    packed = gemm.WQLinear_GEMM.from_linear(linear, 4, GROUP, scales=scales.t().contiguous(), zeros=zeros.t().contiguous())
    expected = packing.dequantize_gemm(packed.qweight, packed.qzeros, packed.scales, 4, GROUP).t().float()
    return {"qweight": packed.qweight, "qzeros": packed.qzeros, "scales": packed.scales, "expected": expected}


def gptq(folder, generator):
    transformers = types.ModuleType("transformers")
    transformers.pytorch_utils = types.SimpleNamespace(Conv1D=type("Conv1D", (), {}))
    sys.modules["transformers"] = transformers
    for name in ("auto_gptq", "auto_gptq.nn_modules", "auto_gptq.nn_modules.qlinear"):
        package(name, folder / name.replace(".", "/"))
    module = importlib.import_module("auto_gptq.nn_modules.qlinear.qlinear_cuda_old")
    linear, _, zeros, scales = quantized(generator, 1)  # its packing does not survive zero points of 0
    packed = module.QuantLinear(4, GROUP, IN, OUT, False, weight_dtype=torch.float32)
    packed.pack(linear, scales.float(), zeros.float(), None)
    expected = packed(torch.eye(IN)).t().float()
    return {"qweight": packed.qweight, "qzeros": packed.qzeros, "scales": packed.scales.half(), "expected": expected}


def compressed(folder, generator):
    for name in ("compressed_tensors", "compressed_tensors.compressors", "compressed_tensors.compressors.pack_quantized"):
        package(name, folder / name.replace(".", "/"))
    helpers = importlib.import_module("compressed_tensors.compressors.pack_quantized.helpers")
    _, codes, zeros, scales = quantized(generator, 0)
    codes, zeros, scales = (codes - 8).to(torch.int8), (zeros - 8).to(torch.int8), scales.to(torch.bfloat16)
    words = helpers.pack_to_int32(codes, 4, packed_dim=1)
    zero_words = helpers.pack_to_int32(zeros, 4, packed_dim=0)
    unpacked = helpers.unpack_from_int32(words, 4, codes.shape, packed_dim=1)
    each = lambda t: t.repeat_interleave(GROUP, dim=1).float()
    expected = (unpacked.float() - each(helpers.unpack_from_int32(zero_words, 4, zeros.shape, packed_dim=0))) * each(scales)
    return {"weight_packed": words, "weight_zero_point": zero_words, "weight_scale": scales,
            "weight_shape": torch.tensor(codes.shape), "expected": expected}


def main():
    generator = torch.Generator().manual_seed(20261127)
    tensors = {}
    for make, folder in zip((awq, gptq, compressed), sys.argv[1:], strict=True):
        with torch.no_grad():
            for name, tensor in make(Path(folder), generator).items():
                tensors[f"{make.__name__}.{name}"] = tensor.contiguous()
    save_file(tensors, Path(__file__).parent / "packed_weights.safetensors")


main()
