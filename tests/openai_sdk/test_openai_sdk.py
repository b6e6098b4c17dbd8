"""The official OpenAI Python SDK against the real server with the default model; run.py starts it.

Answers are compared with each other (streamed with whole, together with alone), not with fixed texts: those belong to
the model. Greedy answers are exact, so equality is meant literally.
"""

import asyncio
import json
import os
import sys
import unittest
from concurrent.futures import ThreadPoolExecutor

import openai

sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
from server_process import ServerProcess

CALL_SECONDS = 600  # a sanitizer's build is slow

server = None


def setUpModule():
    global server
    server = ServerProcess(os.environ["SGL_PROGRAM"])


def tearDownModule():
    server.stop()


def user(text):
    return [{"role": "system", "content": "You are a helpful assistant."}, {"role": "user", "content": text}]


class SdkTest(unittest.TestCase):
    def setUp(self):
        self.client = openai.OpenAI(base_url=server.url + "/v1", api_key="none", timeout=CALL_SECONDS, max_retries=0)
        self.addCleanup(self.client.close)
        self.model = self.client.models.list().data[0].id

    def chat(self, text, **options):
        options = {"temperature": 0, "max_tokens": 24, **options}
        return self.client.chat.completions.create(model=self.model, messages=user(text), **options)

    def complete(self, prompt, **options):
        options = {"temperature": 0, "max_tokens": 24, **options}
        return self.client.completions.create(model=self.model, prompt=prompt, **options)


class Models(SdkTest):
    def test_the_served_model_is_listed_and_can_be_retrieved(self):
        models = self.client.models.list().data
        self.assertEqual(len(models), 1)
        self.assertEqual(models[0].object, "model")
        self.assertEqual(self.client.models.retrieve(self.model).id, self.model)

    def test_an_unknown_model_is_not_found(self):
        with self.assertRaises(openai.NotFoundError) as caught:
            self.client.models.retrieve("no-such-model")
        self.assertIn("no-such-model", caught.exception.message)


WIZARD = {
    "type": "object",
    "properties": {"name": {"type": "string", "maxLength": 16}, "age": {"type": "integer", "minimum": 0, "maximum": 200},
                   "house": {"enum": ["Gryffindor", "Hufflepuff", "Ravenclaw", "Slytherin"]}},
    "required": ["name", "age", "house"],
    "additionalProperties": False,
}


class StructuredOutput(SdkTest):
    FORMAT = {"type": "json_schema", "json_schema": {"name": "wizard", "strict": True, "schema": WIZARD}}

    def check(self, text):
        wizard = json.loads(text)
        self.assertEqual(list(wizard), ["name", "age", "house"])
        self.assertLessEqual(len(wizard["name"]), 16)
        self.assertIn(wizard["age"], range(201))
        self.assertIn(wizard["house"], WIZARD["properties"]["house"]["enum"])

    def test_a_schema_is_followed_at_any_temperature_by_many_at_once(self):
        with ThreadPoolExecutor(16) as pool:
            answers = pool.map(lambda i: self.chat("Invent a wizard.", max_tokens=128, temperature=(0, 0.7, 1.5)[i % 3],
                                                   seed=i, response_format=self.FORMAT), range(48))
        for answer in answers:
            self.assertEqual(answer.choices[0].finish_reason, "stop")
            self.check(answer.choices[0].message.content)

    def test_streamed_is_whole(self):
        options = {"max_tokens": 128, "temperature": 0.7, "seed": 5, "response_format": self.FORMAT}
        whole = self.chat("Invent a wizard.", **options).choices[0].message.content
        pieces = [c.choices[0].delta.content or "" for c in self.chat("Invent a wizard.", stream=True, **options)]
        self.assertEqual("".join(pieces), whole)
        self.check(whole)

    def test_a_json_object_is_one(self):
        answer = self.chat("Invent a wizard, as JSON.", max_tokens=200, response_format={"type": "json_object"})
        if answer.choices[0].finish_reason == "stop":
            self.assertIsInstance(json.loads(answer.choices[0].message.content), dict)
        else:
            self.assertTrue(answer.choices[0].message.content.startswith("{"))

    def test_regex_and_ebnf_are_taken_beside_the_format(self):
        answer = self.complete("The year was ", extra_body={"regex": "(19|20)[0-9]{2}"})
        self.assertRegex(answer.choices[0].text, r"\A(19|20)[0-9]{2}\Z")
        answer = self.complete("Yes or no? ", extra_body={"ebnf": 'root ::= "yes" | "no"'})
        self.assertIn(answer.choices[0].text, ("yes", "no"))

    def test_what_cannot_be_honoured_is_a_bad_request_that_names_it(self):
        schema = {"type": "array", "uniqueItems": True}
        with self.assertRaises(openai.BadRequestError) as caught:
            self.chat("x", response_format={"type": "json_schema", "json_schema": {"name": "x", "schema": schema}})
        self.assertIn("uniqueItems", caught.exception.message)


class Chat(SdkTest):
    def test_an_answer_has_its_role_reason_and_usage(self):
        answer = self.chat("What is the capital of France?")
        choice = answer.choices[0]
        self.assertEqual(answer.object, "chat.completion")
        self.assertEqual(answer.model, self.model)
        self.assertEqual((choice.index, choice.message.role), (0, "assistant"))
        self.assertIn("Paris", choice.message.content)
        self.assertIn(choice.finish_reason, ("stop", "length"))
        self.assertGreater(answer.usage.prompt_tokens, 5)
        self.assertLessEqual(answer.usage.completion_tokens, 24)
        self.assertEqual(answer.usage.total_tokens, answer.usage.prompt_tokens + answer.usage.completion_tokens)

    def test_pieces_of_a_stream_make_the_whole_answer(self):
        question = "Name three colours, and say in one sentence what an emoji is."
        whole = self.chat(question, max_tokens=48)
        text, roles, reasons, ids = "", [], [], set()
        for chunk in self.chat(question, max_tokens=48, stream=True):
            self.assertEqual(chunk.object, "chat.completion.chunk")
            self.assertIsNone(chunk.usage)
            ids.add(chunk.id)
            for choice in chunk.choices:
                text += choice.delta.content or ""
                roles += [choice.delta.role] if choice.delta.role else []
                reasons += [choice.finish_reason] if choice.finish_reason else []
        self.assertEqual(text, whole.choices[0].message.content)
        self.assertEqual(reasons, [whole.choices[0].finish_reason])
        self.assertEqual(set(roles), {"assistant"})
        self.assertEqual(len(ids), 1)

    def test_a_stream_ends_with_usage_where_asked_for(self):
        whole = self.chat("Count to five.")
        chunks = list(self.chat("Count to five.", stream=True, stream_options={"include_usage": True}))
        self.assertEqual(chunks[-1].choices, [])
        self.assertEqual(chunks[-1].usage.prompt_tokens, whole.usage.prompt_tokens)
        self.assertEqual(chunks[-1].usage.completion_tokens, whole.usage.completion_tokens)
        self.assertTrue(all(chunk.usage is None for chunk in chunks[:-1]))

    def test_content_as_parts_answers_as_the_same_text(self):
        def answer(content):
            return self.client.chat.completions.create(
                model=self.model, temperature=0, max_tokens=24,
                messages=[{"role": "system", "content": "You answer in English."},
                          {"role": "user", "content": "My name is Ada."},
                          {"role": "assistant", "content": "Hello Ada."},
                          {"role": "user", "content": content}])
        plain = answer("What is my name?")
        parts = answer([{"type": "text", "text": "What is my name?"}])
        self.assertEqual(parts.choices[0].message.content, plain.choices[0].message.content)
        self.assertEqual(parts.usage.prompt_tokens, plain.usage.prompt_tokens)
        self.assertGreater(plain.usage.prompt_tokens, self.chat("What is my name?").usage.prompt_tokens)

    def test_log_probabilities_cover_each_token_and_greedy_takes_the_best(self):
        answer = self.chat("What is the capital of France?", logprobs=True, top_logprobs=3)
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

    def test_n_gives_that_many_choices_and_a_seed_repeats_them(self):
        def contents():
            answer = self.chat("Tell me a story.", n=4, temperature=1.2, seed=7, max_tokens=12)
            self.assertEqual([choice.index for choice in answer.choices], [0, 1, 2, 3])
            return [choice.message.content for choice in answer.choices]
        first = contents()
        self.assertGreater(len(set(first)), 1, "four samples at temperature 1.2 are all equal")
        self.assertEqual(first, contents())

    def test_n_streams_interleave_by_index(self):
        texts, ended = {}, []
        for chunk in self.chat("Tell me a story.", n=3, temperature=1, max_tokens=8, stream=True):
            for choice in chunk.choices:
                texts[choice.index] = texts.get(choice.index, "") + (choice.delta.content or "")
                ended += [choice.index] if choice.finish_reason else []
        self.assertEqual(sorted(texts), [0, 1, 2])
        self.assertEqual(sorted(ended), [0, 1, 2])

    def test_a_stop_string_ends_the_answer_before_it(self):
        free = self.chat("What is the capital of France?").choices[0].message.content
        stop = free[len(free) // 2:][:3]
        cut = self.chat("What is the capital of France?", stop=[stop, "never there"])
        self.assertEqual(cut.choices[0].message.content, free[:free.index(stop)])
        self.assertEqual(cut.choices[0].finish_reason, "stop")

    def test_max_tokens_ends_with_length(self):
        answer = self.chat("Tell me a very long story.", max_tokens=5)
        self.assertEqual(answer.usage.completion_tokens, 5)
        self.assertEqual(answer.choices[0].finish_reason, "length")
        same = self.client.chat.completions.create(model=self.model, messages=user("Tell me a very long story."),
                                                   temperature=0, max_completion_tokens=5)
        self.assertEqual(same.choices[0].message.content, answer.choices[0].message.content)


class Completions(SdkTest):
    def test_a_completion_continues_the_prompt(self):
        answer = self.complete("The capital of France is")
        self.assertEqual(answer.object, "text_completion")
        self.assertIn("Paris", answer.choices[0].text)
        self.assertEqual(answer.usage.total_tokens, answer.usage.prompt_tokens + answer.usage.completion_tokens)

    def test_pieces_of_a_stream_make_the_whole_completion(self):
        whole = self.complete("Once upon a time").choices[0].text
        pieces = [chunk.choices[0].text for chunk in self.complete("Once upon a time", stream=True) if chunk.choices]
        self.assertEqual("".join(pieces), whole)
        self.assertGreater(len(pieces), 3)

    def test_a_list_of_prompts_gives_a_choice_each_in_order(self):
        prompts = ["The capital of France is", "One, two, three,", "Water is made of"]
        together = self.complete(prompts, max_tokens=8)
        self.assertEqual([choice.index for choice in together.choices], [0, 1, 2])
        alone = [self.complete(prompt, max_tokens=8).choices[0].text for prompt in prompts]
        self.assertEqual([choice.text for choice in together.choices], alone)

    def test_log_probabilities_come_as_parallel_lists(self):
        answer = self.complete("The capital of France is", max_tokens=6, logprobs=2)
        logprobs = answer.choices[0].logprobs
        self.assertEqual(len(logprobs.tokens), 6)
        self.assertEqual(len(logprobs.token_logprobs), 6)
        self.assertEqual(len(logprobs.text_offset), 6)
        self.assertEqual("".join(logprobs.tokens), answer.choices[0].text)
        for token, value, best in zip(logprobs.tokens, logprobs.token_logprobs, logprobs.top_logprobs):
            self.assertIn(token, best)
            self.assertEqual(value, max(best.values()))

    def test_echo_repeats_the_prompt(self):
        plain = self.complete("The capital of France is", max_tokens=6).choices[0].text
        echoed = self.complete("The capital of France is", max_tokens=6, echo=True).choices[0].text
        self.assertEqual(echoed, "The capital of France is" + plain)


class Errors(SdkTest):
    def test_parameters_out_of_range_are_bad_requests_that_name_them(self):
        for parameter, value in [("temperature", -1), ("top_p", 0), ("top_p", 1.5), ("n", 0),
                                 ("frequency_penalty", 3), ("max_tokens", -5)]:
            with self.subTest(parameter=parameter, value=value):
                with self.assertRaises(openai.BadRequestError) as caught:
                    self.chat("Hi", **{parameter: value})
                self.assertIn(parameter, caught.exception.message)

    def test_values_of_a_wrong_type_are_bad_requests(self):
        for body in [{"messages": "hello"}, {"messages": []}, {"messages": [{"role": "user"}]}, {"stop": 5},
                     {"temperature": "hot"}]:
            with self.subTest(body=body), self.assertRaises(openai.BadRequestError):
                self.chat("Hi", extra_body=body)

    def test_a_prompt_longer_than_the_context_is_refused_with_both_numbers(self):
        with self.assertRaises(openai.BadRequestError) as caught:
            self.chat("word " * 20000)
        self.assertRegex(caught.exception.message, r"(?s)\d{4,}.*\d{4,}")

    def test_errors_of_a_stream_come_before_it_begins(self):
        with self.assertRaises(openai.BadRequestError):
            self.chat("Hi", stream=True, temperature=-1)

    def test_an_unknown_route_is_not_found(self):
        with self.assertRaises(openai.NotFoundError):
            self.client.post("/no_such_route", cast_to=object, body={})

    def test_the_server_still_answers_afterwards(self):
        self.assertTrue(self.chat("Hi").choices[0].message.content)


class ManyAtOnce(SdkTest):
    def test_32_at_once_streamed_and_not_answer_as_each_alone(self):
        questions = [f"Write one sentence about the number {i}." for i in range(16)]
        alone = [self.chat(q, max_tokens=16).choices[0].message.content for q in questions]

        async def ask(client, question, stream):
            options = {"model": self.model, "messages": user(question), "temperature": 0, "max_tokens": 16}
            if not stream:
                return (await client.chat.completions.create(**options)).choices[0].message.content
            text = ""
            async for chunk in await client.chat.completions.create(stream=True, **options):
                text += (chunk.choices[0].delta.content or "") if chunk.choices else ""
            return text

        async def ask_all():
            async with openai.AsyncOpenAI(base_url=server.url + "/v1", api_key="none", timeout=CALL_SECONDS,
                                          max_retries=0) as client:
                return await asyncio.gather(*(ask(client, q, stream) for q in questions for stream in (False, True)))

        answers = asyncio.run(ask_all())
        self.assertEqual(len(answers), 32)
        for i, text in enumerate(alone):
            self.assertEqual(answers[2 * i:2 * i + 2], [text, text], questions[i])


class Cancelling(SdkTest):
    def aborted(self):
        return json.loads(server.get("/server_info"))["internal_states"][0]["num_aborted_requests_total"]

    def test_a_client_that_leaves_mid_stream_frees_what_it_held(self):
        before = self.aborted()
        for _ in range(3):
            stream = self.chat("Tell me a very long story.", stream=True, max_tokens=7000,
                               extra_body={"ignore_eos": True})
            for _, chunk in zip(range(5), stream):
                self.assertTrue(chunk.choices)
            stream.close()
        # Flushing succeeds when nothing runs or waits; that is so because they were aborted, not because they ended.
        self.assertEqual(server.open("/flush_cache?timeout=300").status, 200)
        self.assertEqual(self.aborted(), before + 3)
        self.assertTrue(self.chat("Hi").choices[0].message.content)
