"""How tokens are chosen, and what ends a text."""

from concurrent.futures import ThreadPoolExecutor

from support import SdkTest

FRANCE = "What is the capital of France?"
STORY = "Tell me a story."


class Randomness(SdkTest):
    def test_n_gives_that_many_choices_and_a_seed_repeats_them(self):
        def contents():
            answer = self.chat(STORY, n=4, temperature=1.2, seed=7, max_tokens=12)
            self.assertEqual([choice.index for choice in answer.choices], [0, 1, 2, 3])
            return [choice.message.content for choice in answer.choices]
        first = contents()
        self.assertGreater(len(set(first)), 1, "four samples at temperature 1.2 are all equal")
        self.assertEqual(first, contents())

    def test_without_temperature_all_samples_are_the_greedy_one(self):
        answer = self.chat(FRANCE, n=3)
        self.assertEqual({choice.message.content for choice in answer.choices}, {self.say(FRANCE)})
        self.assertEqual(answer.usage.completion_tokens, 3 * self.chat(FRANCE).usage.completion_tokens)

    def test_a_seed_gives_the_same_among_others(self):
        def sample(seed):
            return self.say(STORY, temperature=1.2, seed=seed, max_tokens=8)
        alone = sample(1)
        with ThreadPoolExecutor(8) as pool:
            together = list(pool.map(sample, [1, 2, 3, 4, 5, 6, 7, 1]))
        self.assertEqual([together[0], together[-1]], [alone, alone])
        self.assertGreater(len(set(together)), 1, "seven seeds give one text")

    def test_the_narrowest_filters_leave_the_greedy_choice(self):
        greedy = self.say(FRANCE)
        for narrow in {"top_p": 1e-6}, {"extra_body": {"top_k": 1}}, {"extra_body": {"min_p": 1}}:
            with self.subTest(narrow):
                self.assertEqual(self.say(FRANCE, temperature=2, seed=3, **narrow), greedy)


class Bias(SdkTest):
    """What changes the logits of single tokens."""

    def best(self, prompt, **options):
        """The most likely next tokens of the prompt and their log-probabilities, best first."""
        top = self.complete(prompt, logprobs=20, max_tokens=1, **options).choices[0].logprobs.top_logprobs[0]
        return sorted(top.items(), key=lambda item: -item[1])

    def id_of(self, token):
        tokens = self.server.post("/tokenize", {"prompt": token})["tokens"]
        self.assertEqual(len(tokens), 1, token)
        return tokens[0]

    def shifts(self, **penalty):
        """By how much a penalty lowers the log-odds of " la" at four positions; the i-th has seen it i times.

        " la" is forced again and again, and compared with another token, which is never in the text.
        """
        def best(**options):
            forced = {"logit_bias": {str(self.id_of(" la")): 60}, "max_tokens": 4, "logprobs": 20}
            return self.complete("la la la la", **forced, **options).choices[0].logprobs.top_logprobs
        shifts = []
        for plain, penalized in zip(best(), best(**penalty)):
            other = next(token for token in plain if token in penalized and token != " la")
            shifts.append((plain[" la"] - plain[other]) - (penalized[" la"] - penalized[other]))
        return shifts

    def test_a_token_can_be_forced(self):
        paris = self.id_of(" Paris")
        self.assertEqual(self.write("la la la", max_tokens=4, logit_bias={str(paris): 100}), 4 * " Paris")

    def test_a_banned_token_leaves_its_place_to_the_second_best(self):
        prompt = "The capital of France is"
        (first, _), (second, _) = self.best(prompt)[:2]
        banned = {str(self.id_of(first)): -100}
        self.assertEqual(self.write(prompt, max_tokens=1), first)
        self.assertEqual(self.write(prompt, max_tokens=1, logit_bias=banned), second)
        self.assertNotIn(first, self.write(prompt, max_tokens=8, temperature=1, seed=1, logit_bias=banned))

    def test_a_bias_is_added_to_the_logit(self):
        prompt = "The capital of France is"
        (one, a), (two, b) = self.best(prompt)[:2]
        biased = dict(self.best(prompt, logit_bias={str(self.id_of(two)): 1.5}))
        self.assertAlmostEqual(biased[two] - biased[one], b - a + 1.5, places=3)

    def test_a_presence_penalty_is_subtracted_once(self):
        for shift, subtracted in zip(self.shifts(presence_penalty=1.5), [0, 1.5, 1.5, 1.5]):
            self.assertAlmostEqual(shift, subtracted, places=3)

    def test_a_frequency_penalty_is_subtracted_for_each_time_and_a_negative_one_added(self):
        for frequency in 0.5, -0.5:
            for times, shift in enumerate(self.shifts(frequency_penalty=frequency)):
                self.assertAlmostEqual(shift, times * frequency, places=3)

    def test_a_repetition_penalty_divides_the_logit_of_what_was_there(self):
        # logit − logit/2 is 2.5 times logit − logit/1.25.
        twice, less = (self.shifts(extra_body={"repetition_penalty": f}) for f in (2, 1.25))
        self.assertAlmostEqual(twice[0], 0, places=3)
        for more, fewer in zip(twice[1:], less[1:]):
            self.assertGreater(fewer, 0.5)
            self.assertAlmostEqual(more / fewer, 2.5, places=2)


class Ends(SdkTest):
    def test_a_stop_string_ends_the_answer_before_it(self):
        free = self.say(FRANCE)
        stop = free[len(free) // 2:][:3]
        cut = self.chat(FRANCE, stop=[stop, "never there"]).choices[0]
        self.assertEqual((cut.message.content, cut.finish_reason), (free[:free.index(stop)], "stop"))

    def test_one_stop_needs_no_list_and_a_stream_never_shows_it(self):
        free = self.say(FRANCE)
        stop = " of Fr"  # begins and ends within tokens
        self.assertEqual(self.say(FRANCE, stop=stop), free[:free.index(stop)])
        pieces = [c.choices[0].delta.content or "" for c in self.chat(FRANCE, stop=stop, stream=True)]
        self.assertEqual("".join(pieces), free[:free.index(stop)])

    def test_the_first_stop_in_the_text_counts_not_the_first_in_the_list(self):
        free = self.say(FRANCE)
        self.assertEqual(self.say(FRANCE, stop=["Paris", "France"]), free[:free.index("France")])

    def test_a_stop_can_be_kept(self):
        self.assertTrue(self.say(FRANCE, stop="France", extra_body={"no_stop_trim": True}).endswith("France"))

    def test_the_prompt_holds_no_stop(self):
        # "France" is in the question; what is looked for is in the answer.
        self.assertIn("capital", self.say(FRANCE, stop="France"))

    def test_a_stop_may_be_a_token(self):
        paris, = self.server.post("/tokenize", {"prompt": " Paris"})["tokens"]
        choice = self.chat(FRANCE, extra_body={"stop_token_ids": [paris]}).choices[0]
        self.assertEqual((choice.finish_reason, choice.matched_stop), ("stop", paris))
        self.assertNotIn("Paris", choice.message.content)

    def test_a_stop_may_be_a_pattern_whose_text_stays(self):
        choice = self.chat(FRANCE, extra_body={"stop_regex": "F[a-z]+e"}).choices[0]
        self.assertTrue(choice.message.content.endswith("France"), choice)
        self.assertEqual((choice.finish_reason, choice.matched_stop), ("stop", "F[a-z]+e"))

    def test_ignore_eos_goes_on_to_the_limit_and_special_tokens_can_be_shown(self):
        ended = self.chat(FRANCE)
        self.assertEqual(ended.choices[0].finish_reason, "stop")
        longer = ended.usage.completion_tokens + 3
        hidden = self.chat(FRANCE, max_tokens=longer, extra_body={"ignore_eos": True})
        self.assertEqual((hidden.choices[0].finish_reason, hidden.usage.completion_tokens), ("length", longer))
        shown = self.say(FRANCE, max_tokens=longer, extra_body={"ignore_eos": True, "skip_special_tokens": False})
        self.assertNotIn("<|im_end|>", hidden.choices[0].message.content)
        self.assertTrue(shown.startswith(ended.choices[0].message.content + "<|im_end|>"), shown)

    def test_an_answer_can_be_made_longer_than_the_model_wants(self):
        wanted = self.chat(FRANCE).usage.completion_tokens
        answer = self.chat(FRANCE, max_tokens=wanted + 8, extra_body={"min_tokens": wanted + 4})
        self.assertGreaterEqual(answer.usage.completion_tokens, wanted + 4)
