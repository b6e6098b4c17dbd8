"""A BERT embedder as an ONNX graph, made from a checkpoint's own weights: ids [b, n], mask [b, n] → vectors [b, d]."""
import json
import os
import sys
from pathlib import Path

import numpy as np
from onnx import TensorProto, helper, numpy_helper

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "tests" / "embeddings"))

from reference import read_safetensors  # noqa: E402


class Graph:
    def __init__(self, weights):
        self.weights, self.nodes, self.constants = weights, [], {}

    def constant(self, name, value):
        self.constants[name] = numpy_helper.from_array(np.ascontiguousarray(value), name)
        return name

    def op(self, kind, *inputs, **attributes):
        output = f"t{len(self.nodes)}"
        self.nodes.append(helper.make_node(kind, list(inputs), [output], **attributes))
        return output

    def linear(self, x, name):
        w = self.constant(name + ".w", self.weights[name + ".weight"].T)
        return self.op("Add", self.op("MatMul", x, w), self.constant(name + ".b", self.weights[name + ".bias"]))

    def norm(self, x, name, eps):
        return self.op("LayerNormalization", x, self.constant(name + ".w", self.weights[name + ".weight"]),
                       self.constant(name + ".b", self.weights[name + ".bias"]), axis=-1, epsilon=eps)


def bert_graph(directory):
    with open(os.path.join(directory, "config.json"), encoding="utf-8") as file:
        config = json.load(file)
    weights = read_safetensors(os.path.join(directory, "model.safetensors"))
    hidden, heads, eps = config["hidden_size"], config["num_attention_heads"], config["layer_norm_eps"]
    g = Graph(weights)
    words = g.op("Gather", g.constant("words", weights["embeddings.word_embeddings.weight"]), "ids")
    length = g.op("Slice", g.op("Shape", "ids"), g.constant("one", np.array([1])), g.constant("two", np.array([2])))
    positions = g.op("Slice", g.constant("positions", weights["embeddings.position_embeddings.weight"] +
                                         weights["embeddings.token_type_embeddings.weight"][0]),
                     g.constant("zero", np.array([0])), length)
    x = g.norm(g.op("Add", words, positions), "embeddings.LayerNorm", eps)
    hidden_from = g.op("Mul", g.op("Sub", "mask", g.constant("onef", np.float32(1))), g.constant("large", np.float32(1e9)))
    bias = g.op("Unsqueeze", hidden_from, g.constant("axes", np.array([1, 2])))
    split_shape, join_shape = (g.constant("split", np.array([0, 0, heads, hidden // heads])),
                               g.constant("join", np.array([0, 0, hidden])))
    scale = g.constant("scale", np.float32((hidden // heads) ** -0.5))
    for i in range(config["num_hidden_layers"]):
        layer = f"encoder.layer.{i}"
        split = lambda name, order: g.op("Transpose", g.op("Reshape", g.linear(x, f"{layer}.attention.self.{name}"),
                                                           split_shape), perm=order)
        q, k, v = split("query", [0, 2, 1, 3]), split("key", [0, 2, 3, 1]), split("value", [0, 2, 1, 3])
        scores = g.op("Add", g.op("Mul", g.op("MatMul", q, k), scale), bias)
        seen = g.op("Transpose", g.op("MatMul", g.op("Softmax", scores, axis=-1), v), perm=[0, 2, 1, 3])
        out = g.linear(g.op("Reshape", seen, join_shape), f"{layer}.attention.output.dense")
        x = g.norm(g.op("Add", x, out), f"{layer}.attention.output.LayerNorm", eps)
        inner = g.op("Gelu", g.linear(x, f"{layer}.intermediate.dense"))
        x = g.norm(g.op("Add", x, g.linear(inner, f"{layer}.output.dense")), f"{layer}.output.LayerNorm", eps)
    weight = g.op("Unsqueeze", "mask", g.constant("last", np.array([-1])))
    total = g.op("ReduceSum", g.op("Mul", x, weight), g.constant("tokens", np.array([1])), keepdims=0)
    mean = g.op("Div", total, g.op("ReduceSum", weight, "tokens", keepdims=0))
    g.nodes.append(helper.make_node("LpNormalization", [mean], ["vectors"], axis=-1, p=2))
    graph = helper.make_graph(
        g.nodes, "bert",
        [helper.make_tensor_value_info("ids", TensorProto.INT64, ["b", "n"]),
         helper.make_tensor_value_info("mask", TensorProto.FLOAT, ["b", "n"])],
        [helper.make_tensor_value_info("vectors", TensorProto.FLOAT, ["b", hidden])], list(g.constants.values()))
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)
