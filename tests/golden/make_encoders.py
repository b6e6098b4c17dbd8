#!/usr/bin/env python3
"""Makes models/bert_cross and models/xlm_roberta: tiny random encoders, and what transformers computes with them.

    python3 -m venv venv && venv/bin/pip install torch transformers
    venv/bin/python tests/golden/make_encoders.py tests/golden/models
"""
import json
import sys
from pathlib import Path

import torch
from safetensors.torch import save_file
from tokenizers import Tokenizer, models, pre_tokenizers, processors
from transformers import BertConfig, BertForSequenceClassification, XLMRobertaConfig, XLMRobertaModel

VOCAB, CLS, SEP, UNKNOWN = 320, 2, 3, 1
SIZES = {"vocab_size": VOCAB, "hidden_size": 64, "num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 160}


def wider(model):
    """Weights as they are made are so small that every text looks alike."""
    with torch.no_grad():
        for name, p in model.named_parameters():
            p.add_(torch.randn_like(p) * (0.1 if p.dim() > 1 else 0.05))
    return model.eval().float()


def words(generator, n):
    return torch.randint(4, VOCAB, (n,), generator=generator).tolist()


def save(model, directory, expected):
    model.save_pretrained(directory)
    config = json.loads((directory / "config.json").read_text())
    save_file(expected, str(directory / "expected.safetensors"))
    print(directory, config["architectures"], {name: list(t.shape) for name, t in expected.items()})


def cross_encoder(directory):
    """Pairs of texts: [CLS] a [SEP] b [SEP], token types 0 and 1; the logit of the one label, before any sigmoid."""
    torch.manual_seed(11)
    model = wider(BertForSequenceClassification(BertConfig(**SIZES, max_position_embeddings=128, num_labels=1)))
    generator, expected = torch.Generator().manual_seed(12), {}
    for i, (first, second) in enumerate([(1, 1), (3, 7), (20, 33), (50, 61)]):
        a, b = words(generator, first), words(generator, second)
        ids = torch.tensor([[CLS, *a, SEP, *b, SEP]])
        types = torch.tensor([[0] * (first + 2) + [1] * (second + 1)])
        with torch.no_grad():
            expected[f"scores.{i}"] = model(input_ids=ids, token_type_ids=types).logits[0].contiguous()
        expected[f"input_ids.{i}"], expected[f"token_types.{i}"] = ids[0].contiguous(), types[0].contiguous()
    save(model, directory, expected)
    # Word i is "wi".
    names = {CLS: "[CLS]", SEP: "[SEP]", UNKNOWN: "[UNK]"}
    vocab = {names.get(i, f"w{i}"): i for i in range(VOCAB)}
    tokenizer = Tokenizer(models.WordPiece(vocab, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.add_special_tokens(["[UNK]", "[CLS]", "[SEP]"])
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", pair="[CLS] $A [SEP] $B:1 [SEP]:1", special_tokens=[("[CLS]", CLS), ("[SEP]", SEP)])
    tokenizer.save(str(directory / "tokenizer.json"), pretty=False)


def roberta(directory):
    """Positions count from pad_token_id + 1; the last hidden states."""
    torch.manual_seed(13)
    model = wider(XLMRobertaModel(XLMRobertaConfig(**SIZES, max_position_embeddings=130, type_vocab_size=1,
                                                   pad_token_id=1, layer_norm_eps=1e-5), add_pooling_layer=False))
    generator, expected = torch.Generator().manual_seed(14), {}
    for i, n in enumerate([1, 9, 40, 128]):
        ids = torch.tensor([words(generator, n)])
        with torch.no_grad():
            expected[f"hidden.{i}"] = model(input_ids=ids).last_hidden_state[0].contiguous()
        expected[f"input_ids.{i}"] = ids[0].contiguous()
    save(model, directory, expected)


if __name__ == "__main__":
    models_directory = Path(sys.argv[1])
    cross_encoder(models_directory / "bert_cross")
    roberta(models_directory / "xlm_roberta")
