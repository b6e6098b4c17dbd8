"""Log-probabilities of chat and of completions: shapes, and that they are those of the distribution sampled from."""

import math

from support import SdkTest

FRANCE = "What is the capital of France?"
PROMPT = "The capital of France is"


class Chat(SdkTest):
    def entries(self, asked, **options):
        return self.chat(asked, logprobs=True, **options).choices[0].logprobs.content

    def test_log_probabilities_cover_each_token_and_greedy_takes_the_best(self):
        answer = self.chat(FRANCE, logprobs=True, top_logprobs=3)
        entries = answer.choices[0].logprobs.content
        # The token that ended the answer may or may not be listed; all others are.
        self.assertIn(answer.usage.completion_tokens - len(entries), (0, 1))
        spelled = b"".join(bytes(entry.bytes) for entry in entries).decode()
        self.assertTrue(spelled.startswith(answer.choices[0].message.content), spelled)
        for entry in entries:
            values = [top.logprob for top in entry.top_logprobs]
            self.assertEqual(len(values), 3)
            self.assertEqual(values, sorted(values, reverse=True))
            self.assertEqual(entry.top_logprobs[0].token, entry.token)
            self.assertAlmostEqual(entry.logprob, values[0], places=5)
            self.assertLessEqual(entry.logprob, 0)

    def test_streamed_log_probabilities_equal_those_of_the_whole_answer(self):
        options = {"logprobs": True, "top_logprobs": 2, "max_tokens": 16}
        whole = self.chat("Say hello.", **options).choices[0].logprobs.content
        streamed = []
        for chunk in self.chat("Say hello.", stream=True, **options):
            for choice in chunk.choices:
                streamed += choice.logprobs.content if choice.logprobs else []
        self.assertEqual([(e.token, e.logprob) for e in streamed], [(e.token, e.logprob) for e in whole])

    def test_they_come_only_where_asked_for_and_alternatives_only_as_many(self):
        self.assertIsNone(self.chat(FRANCE, max_tokens=2).choices[0].logprobs)
        alone, among = self.entries(FRANCE, max_tokens=4), self.entries(FRANCE, max_tokens=4, top_logprobs=1)
        self.assertEqual([e.top_logprobs for e in alone], 4 * [[]])
        self.assertEqual([len(e.top_logprobs) for e in among], 4 * [1])
        self.assertEqual([(e.token, e.logprob) for e in alone], [(e.token, e.logprob) for e in among])

    def test_a_part_of_a_character_has_its_bytes(self):
        text = "世界 😀"
        entries = self.entries("x", max_tokens=40, extra_body={"regex": text})
        self.assertTrue(b"".join(bytes(e.bytes) for e in entries).startswith(text.encode()))
        self.assertTrue(any("\ufffd" in e.token for e in entries), "no token is a part of a character")
        self.assertTrue(all(bytes(e.bytes).decode() == e.token for e in entries if "\ufffd" not in e.token))

    def test_each_choice_has_its_own(self):
        answer = self.chat("Tell me a story.", n=2, temperature=1.5, seed=4, max_tokens=6, logprobs=True, top_logprobs=20)
        one, other = ([e.token for e in choice.logprobs.content] for choice in answer.choices)
        self.assertNotEqual(one, other)
        for choice in answer.choices:
            self.assertTrue("".join(e.token for e in choice.logprobs.content).startswith(choice.message.content))
            for entry in choice.logprobs.content:
                mass = sum(math.exp(top.logprob) for top in entry.top_logprobs)
                self.assertLessEqual(mass, 1.0001)
                same = [top.logprob for top in entry.top_logprobs if top.token == entry.token]
                self.assertIn(same, ([], [entry.logprob]))

    def test_they_are_those_at_the_temperature(self):
        def odds(temperature):
            first = self.entries(FRANCE, max_tokens=1, top_logprobs=5, temperature=temperature, seed=1)[0].top_logprobs
            return [first[0].logprob - other.logprob for other in first[1:]]
        for cold, warm in zip(odds(1), odds(2)):
            self.assertAlmostEqual(warm, cold / 2, places=3)

    def test_under_a_grammar_they_are_of_what_it_allows(self):
        first = self.entries("Is water wet?", extra_body={"regex": "(yes|no)"}, top_logprobs=20)[0].top_logprobs
        self.assertLess(len(first), 20, "what the grammar forbids has no probability")
        self.assertTrue(all("yes".startswith(top.token) or "no".startswith(top.token) for top in first), first)
        self.assertAlmostEqual(sum(math.exp(top.logprob) for top in first), 1, places=3)


class Completions(SdkTest):
    def test_log_probabilities_come_as_parallel_lists(self):
        answer = self.complete(PROMPT, max_tokens=6, logprobs=2)
        logprobs = answer.choices[0].logprobs
        self.assertEqual(len(logprobs.tokens), 6)
        self.assertEqual(len(logprobs.token_logprobs), 6)
        self.assertEqual(len(logprobs.text_offset), 6)
        self.assertEqual("".join(logprobs.tokens), answer.choices[0].text)
        for token, value, best in zip(logprobs.tokens, logprobs.token_logprobs, logprobs.top_logprobs):
            self.assertIn(token, best)
            self.assertEqual(value, max(best.values()))

    def test_zero_asks_for_the_tokens_own_alone(self):
        none, two = (self.complete(PROMPT, max_tokens=3, logprobs=k).choices[0].logprobs for k in (0, 2))
        self.assertIsNone(none.top_logprobs)
        self.assertEqual((none.tokens, none.token_logprobs), (two.tokens, two.token_logprobs))

    def test_a_token_that_is_not_among_the_best_is_listed_beside_them(self):
        # OpenAI: "there may be up to logprobs+1 elements in the response".
        logprobs = self.complete(PROMPT, max_tokens=0, logprobs=1, echo=True).choices[0].logprobs
        beside = 0
        for token, value, best in list(zip(logprobs.tokens, logprobs.token_logprobs, logprobs.top_logprobs))[1:]:
            self.assertEqual(best[token], value)
            self.assertIn(len(best), (1, 2))
            beside += len(best) == 2
        self.assertGreater(beside, 0, "each token of the prompt is the likeliest one")

    def test_echo_scores_the_prompt_too(self):
        logprobs = self.complete(PROMPT, max_tokens=2, logprobs=1, echo=True).choices[0]
        text, logprobs = logprobs.text, logprobs.logprobs
        self.assertEqual("".join(logprobs.tokens), text)
        self.assertTrue(text.startswith(PROMPT))
        self.assertIsNone(logprobs.token_logprobs[0], "nothing stands before the first token")
        self.assertIsNone(logprobs.top_logprobs[0])
        self.assertTrue(all(value <= 0 for value in logprobs.token_logprobs[1:]))
        for token, offset in zip(logprobs.tokens, logprobs.text_offset):
            self.assertEqual(text[offset:offset + len(token)], token)

    def test_a_text_scores_as_it_was_generated(self):
        made = self.complete(PROMPT, max_tokens=6, logprobs=1).choices[0]
        scored = self.complete(PROMPT + made.text, max_tokens=0, logprobs=1, echo=True).choices[0].logprobs
        self.assertEqual(scored.tokens[-6:], made.logprobs.tokens)
        for generated, read in zip(made.logprobs.token_logprobs, scored.token_logprobs[-6:]):
            self.assertAlmostEqual(generated, read, delta=0.1)  # a prompt's rows are computed together, and rounded so

    def test_streamed_ones_have_offsets_that_go_on(self):
        options = {"max_tokens": 5, "logprobs": 1, "echo": True}
        whole = self.complete(PROMPT, **options).choices[0].logprobs
        tokens, values, offsets = [], [], []
        for chunk in self.complete(PROMPT, stream=True, **options):
            for piece in (choice.logprobs for choice in chunk.choices if choice.logprobs):
                tokens += piece.tokens
                values += piece.token_logprobs
                offsets += piece.text_offset
        self.assertEqual((tokens, values, offsets), (whole.tokens, whole.token_logprobs, whole.text_offset))
