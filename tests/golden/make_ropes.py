#!/usr/bin/env python3
"""Makes models/llama_dynamic_rope and models/phi3_longrope: scalings of the rotary embedding that depend on a text's length.

    python3 -m venv venv && venv/bin/pip install torch transformers
    venv/bin/python tests/golden/make_ropes.py tests/golden/models

Transformers decides by the length of each text. The texts are shorter than, as long as, and longer than what the model was
trained for, and a program that decides by the served context must serve a context of that text's length to agree.
"""
import json
import sys
from pathlib import Path

import torch
from safetensors.torch import save_file
from transformers import LlamaConfig, LlamaForCausalLM, Phi3Config, Phi3ForCausalLM

TRAINED = 48
SIZES = {"vocab_size": 96, "hidden_size": 48, "num_hidden_layers": 2, "num_attention_heads": 3, "num_key_value_heads": 1,
         "intermediate_size": 80, "pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2}


def make(model, directory, seed):
    with torch.no_grad():
        for p in model.parameters():  # as they are made, logits hardly depend on positions
            p.add_(torch.randn_like(p) * (0.15 if p.dim() > 1 else 0.05))
    model = model.eval().float()
    generator, expected = torch.Generator().manual_seed(seed), {}
    for i, n in enumerate([20, TRAINED, TRAINED + 1, 3 * TRAINED - 5]):
        ids = torch.randint(3, SIZES["vocab_size"], (1, n), generator=generator)
        with torch.no_grad():
            expected[f"logits.{i}"] = model(input_ids=ids).logits[0].contiguous()
        expected[f"input_ids.{i}"] = ids[0].contiguous()
    model.save_pretrained(directory)
    save_file(expected, str(directory / "expected.safetensors"))
    config = json.loads((directory / "config.json").read_text())
    print(directory, config["rope_parameters"], {name: list(t.shape) for name, t in expected.items()})


if __name__ == "__main__":
    models_directory = Path(sys.argv[1])
    torch.manual_seed(21)
    make(LlamaForCausalLM(LlamaConfig(**SIZES, max_position_embeddings=TRAINED, rope_parameters={
        "rope_type": "dynamic", "rope_theta": 10000.0, "factor": 2.5})), models_directory / "llama_dynamic_rope", 22)
    torch.manual_seed(23)
    make(Phi3ForCausalLM(Phi3Config(**SIZES, max_position_embeddings=4 * TRAINED, original_max_position_embeddings=TRAINED,
                                    rope_parameters={
        "rope_type": "longrope", "rope_theta": 10000.0, "short_factor": [1.0, 1.1, 1.2, 1.35, 1.5, 1.7, 1.9, 2.2],
        "long_factor": [1.0, 1.5, 2.5, 4.0, 7.0, 12.0, 20.0, 33.0]})), models_directory / "phi3_longrope", 24)
