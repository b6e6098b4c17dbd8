#!/usr/bin/env python3
"""SGLang's own front end against a server, where there is nothing to compare with: what calls tell of themselves.

usage: front_end.py URL [unittest arguments]

reference.py has the programs whose texts, variables and messages must be those of ours: gen with its options, stop, regex,
json_schema, select by all three methods, fork, join, copy, roles in seven formats, nested programs, run_batch, streaming.
Here are meta info, typed gen, asynchronous streams, threads, the backend's own calls, and what becomes of errors.
"""
import asyncio
import sys
import unittest

from reference import RuntimeEndpoint, greedy_token_selection, sgl, unconditional_likelihood_normalized

URL = None
FRANCE = "The capital of France is"


@sgl.function
def ask(s, prompt, **options):
    s += prompt + sgl.gen("a", **{"max_tokens": 6, **options})


@sgl.function
def choose(s, method):
    s += FRANCE + sgl.select("a", [" Paris", " a large city"], choices_method=method)


class FrontEnd(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.backend = RuntimeEndpoint(URL)

    def ask(self, prompt=FRANCE, stream=False, **options):
        return ask.run(prompt=prompt, backend=self.backend, temperature=0, stream=stream, **options)

    def test_a_gen_has_meta_info(self):
        state = self.ask()
        meta = state.get_meta_info("a")
        self.assertEqual((meta["finish_reason"]["type"], meta["completion_tokens"]), ("length", 6))
        self.assertGreaterEqual(meta["prompt_tokens"], 5)
        self.assertLess(meta["cached_tokens"], meta["prompt_tokens"])
        stopped = self.ask(stop=["Paris"]).get_meta_info("a")
        self.assertEqual(stopped["finish_reason"], {"type": "stop", "matched": "Paris"})

    def test_its_log_probabilities_have_texts_where_asked_for(self):
        state = self.ask(return_logprob=True, top_logprobs_num=2, return_text_in_logprobs=True, logprob_start_len=0)
        meta = state.get_meta_info("a")
        self.assertEqual("".join(text for _, _, text in meta["output_token_logprobs"]), state["a"])
        self.assertEqual("".join(text for _, _, text in meta["input_token_logprobs"]), FRANCE)
        self.assertIsNone(meta["input_token_logprobs"][0][0])
        self.assertEqual([len(top) for top in meta["output_top_logprobs"]], 6 * [2])
        self.assertEqual([top[0][1] for top in meta["output_top_logprobs"]], [t[1] for t in meta["output_token_logprobs"]])

    def test_a_select_tells_what_it_was_decided_by(self):
        by_length = choose.run(method=sgl.token_length_normalized, backend=self.backend).get_meta_info("a")
        values = by_length["normalized_prompt_logprobs"]
        self.assertEqual(len(values), 2)
        self.assertGreater(values[0], values[1])
        self.assertEqual(len(by_length["input_token_logprobs"]), 2)
        greedy = choose.run(method=greedy_token_selection, backend=self.backend)
        self.assertEqual((greedy["a"], len(greedy.get_meta_info("a")["greedy_logprob_matrix"])), (" Paris", 2))
        free = choose.run(method=unconditional_likelihood_normalized, backend=self.backend).get_meta_info("a")
        self.assertEqual(len(free["normalized_unconditional_prompt_logprobs"]), 2)

    def test_choices_of_a_gen_are_a_select(self):
        self.assertEqual(self.ask(choices=[" Paris", " Rome"])["a"], " Paris")

    def test_a_gen_of_a_type_is_spelled_as_one(self):
        self.assertIsInstance(int(self.ask("2 + 2 =", dtype=int)["a"]), int)
        self.assertRegex(self.ask("He said: ", dtype=str, max_tokens=12)["a"], r'\A"')
        self.assertIn(self.ask("Is water wet? ", dtype=bool)["a"], ("True", "False"))

    def test_an_asynchronous_stream_has_the_text_and_its_meta_info(self):
        async def read():
            pieces, metas = [], []
            async for piece, meta in self.ask(stream=True).text_async_iter("a", return_meta_data=True):
                pieces.append(piece)
                metas.append(meta)
            return pieces, metas
        pieces, metas = asyncio.run(read())
        self.assertEqual("".join(pieces), self.ask()["a"])
        self.assertEqual(metas[-1]["completion_tokens"], 6)

    def test_a_batch_by_many_threads_is_each_alone(self):
        prompts = [f"The number {i} is" for i in range(8)]
        states = ask.run_batch([{"prompt": prompt} for prompt in prompts], backend=self.backend, temperature=0, num_threads=8)
        self.assertEqual([state["a"] for state in states], [self.ask(prompt)["a"] for prompt in prompts])

    def test_the_backend_knows_its_server(self):
        self.assertTrue(self.backend.get_model_name())
        self.assertGreater(sgl.get_server_info(self.backend)["max_total_num_tokens"], 0)
        sgl.flush_cache(self.backend)
        self.assertEqual(self.ask().get_meta_info("a")["cached_tokens"], 0)

    def test_an_error_of_the_server_is_the_programs(self):
        state = ask.run(prompt=FRANCE, backend=self.backend, temperature=-1)
        state.sync()
        self.assertIn("temperature", str(state.error()))


if __name__ == "__main__":
    URL = sys.argv.pop(1)
    unittest.main(argv=[sys.argv[0], "-v", *sys.argv[1:]])
