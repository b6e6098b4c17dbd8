"""Completions: prompts in all forms, choices, echo, and what is refused."""

from support import SdkTest

PROMPT = "The capital of France is"


class Completions(SdkTest):
    def test_a_completion_continues_the_prompt(self):
        answer = self.complete(PROMPT)
        self.assertEqual(answer.object, "text_completion")
        self.assertIn("Paris", answer.choices[0].text)
        self.assertEqual(answer.usage.total_tokens, answer.usage.prompt_tokens + answer.usage.completion_tokens)

    def test_without_a_limit_there_are_sixteen_tokens(self):
        answer = self.complete("Once upon a time", max_tokens=None)
        self.assertEqual((answer.usage.completion_tokens, answer.choices[0].finish_reason), (16, "length"))

    def test_a_list_of_prompts_gives_a_choice_each_in_order(self):
        prompts = [PROMPT, "One, two, three,", "Water is made of"]
        together = self.complete(prompts, max_tokens=8)
        self.assertEqual([choice.index for choice in together.choices], [0, 1, 2])
        alone = [self.complete(prompt, max_tokens=8) for prompt in prompts]
        self.assertEqual([choice.text for choice in together.choices], [one.choices[0].text for one in alone])
        self.assertEqual(together.usage.prompt_tokens, sum(one.usage.prompt_tokens for one in alone))

    def test_token_ids_are_a_prompt_as_well_and_so_is_a_list_of_them(self):
        ids = self.server.post("/tokenize", {"prompt": PROMPT})["tokens"]
        text = self.write(PROMPT, max_tokens=6)
        self.assertEqual(self.write(ids, max_tokens=6), text)
        self.assertEqual([c.text for c in self.complete([ids, ids], max_tokens=6).choices], [text, text])

    def test_n_samples_of_each_prompt_come_prompt_by_prompt(self):
        prompts = ["Aa", "Bb"]
        answer = self.complete(prompts, n=2, best_of=2, echo=True, temperature=1, seed=3, max_tokens=5)
        self.assertEqual([choice.index for choice in answer.choices], [0, 1, 2, 3])
        self.assertEqual([choice.text[:2] for choice in answer.choices], ["Aa", "Aa", "Bb", "Bb"])
        self.assertEqual(answer.usage.completion_tokens, 20)
        self.assertEqual(answer.usage.prompt_tokens, self.complete(prompts, max_tokens=1).usage.prompt_tokens)

    def test_echo_repeats_the_prompt(self):
        self.assertEqual(self.write(PROMPT, max_tokens=6, echo=True), PROMPT + self.write(PROMPT, max_tokens=6))

    def test_echo_repeats_token_ids_as_text(self):
        ids = self.server.post("/tokenize", {"prompt": PROMPT})["tokens"]
        self.assertEqual(self.write(ids, max_tokens=0, echo=True), PROMPT)

    def test_pieces_of_a_stream_make_the_whole_completion(self):
        whole = self.write("Once upon a time")
        pieces = [chunk.choices[0].text for chunk in self.complete("Once upon a time", stream=True) if chunk.choices]
        self.assertEqual("".join(pieces), whole)
        self.assertGreater(len(pieces), 3)

    def test_streams_of_many_prompts_interleave_by_index(self):
        prompts = [PROMPT, "One, two, three,"]
        whole = [choice.text for choice in self.complete(prompts, n=2, echo=True).choices]
        texts, usage = [""] * 4, None
        for chunk in self.complete(prompts, n=2, echo=True, stream=True, stream_options={"include_usage": True}):
            usage = chunk.usage or usage
            for choice in chunk.choices:
                texts[choice.index] += choice.text
        self.assertEqual(texts, whole)
        self.assertEqual(usage.completion_tokens, 4 * 12)

    def test_a_suffix_and_the_best_of_more_are_refused_by_name(self):
        self.refused(lambda: self.complete("def f():", suffix="return x"), "suffix")
        self.refused(lambda: self.complete("x", n=1, best_of=3), "best_of")

    def test_prompts_without_tokens_and_ids_that_are_none_are_refused(self):
        vocabulary = 49152
        for prompt in "", [], [vocabulary], [-1], ["text", [1]]:
            with self.subTest(prompt=prompt):
                self.refused(lambda: self.complete(prompt), "prompt")
