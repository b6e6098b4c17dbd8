"""Chat: messages of all roles and forms, answers, usage, and what is kept from turn to turn."""

import uuid

from support import MODEL, SdkTest, user

FRANCE = "What is the capital of France?"


class Answers(SdkTest):
    def test_an_answer_has_its_role_reason_and_usage(self):
        answer = self.chat(FRANCE)
        choice = answer.choices[0]
        self.assertEqual(answer.object, "chat.completion")
        self.assertEqual(answer.model, MODEL)
        self.assertEqual((choice.index, choice.message.role), (0, "assistant"))
        self.assertIn("Paris", choice.message.content)
        self.assertIn(choice.finish_reason, ("stop", "length"))
        self.assertGreater(answer.usage.prompt_tokens, 5)
        self.assertLessEqual(answer.usage.completion_tokens, 24)
        self.assertEqual(answer.usage.total_tokens, answer.usage.prompt_tokens + answer.usage.completion_tokens)

    def test_ids_begin_as_openais_and_are_all_different(self):
        ids = [self.chat("Hi", max_tokens=1).id for _ in range(3)]
        self.assertEqual(len(set(ids)), 3)
        self.assertTrue(all(i.startswith("chatcmpl-") for i in ids), ids)
        self.assertTrue(self.complete("Hi", max_tokens=1).id.startswith("cmpl-"))

    def test_a_request_may_name_its_answer(self):
        name = f"mine-{uuid.uuid4()}"
        self.assertEqual(self.chat("Hi", max_tokens=1, extra_body={"rid": name}).id, name)

    def test_max_tokens_ends_with_length(self):
        answer = self.chat("Tell me a very long story.", max_tokens=5)
        self.assertEqual(answer.usage.completion_tokens, 5)
        self.assertEqual(answer.choices[0].finish_reason, "length")

    def test_max_completion_tokens_is_the_same_and_without_either_the_answer_ends_by_itself(self):
        limited = self.client.chat.completions.create(model=MODEL, messages=user(FRANCE), temperature=0,
                                                      max_completion_tokens=3)
        self.assertEqual(limited.choices[0].message.content, self.say(FRANCE, max_tokens=3))
        free = self.client.chat.completions.create(model=MODEL, messages=user(FRANCE), temperature=0).choices[0]
        self.assertEqual(free.finish_reason, "stop")
        self.assertTrue(free.message.content.startswith(limited.choices[0].message.content))

    def test_what_ended_an_answer_is_told(self):
        by_token = self.chat(FRANCE).choices[0]
        self.assertEqual(by_token.finish_reason, "stop")
        end = self.server.post("/tokenize", {"prompt": "<|im_end|>"})["tokens"]
        self.assertEqual([by_token.matched_stop], end)
        by_text = self.chat(FRANCE, stop=["Paris"]).choices[0]
        self.assertEqual((by_text.finish_reason, by_text.matched_stop), ("stop", "Paris"))
        self.assertIsNone(self.chat(FRANCE, max_tokens=2).choices[0].matched_stop)

    def test_what_only_the_client_needs_changes_nothing(self):
        plain = self.say(FRANCE)
        self.assertEqual(self.say(FRANCE, user="ada", metadata={"team": "tests"}, store=False, service_tier="auto"), plain)
        self.assertEqual(self.say(FRANCE, extra_body={"no_such_field": {"a": 1}}), plain)

    def test_null_is_the_same_as_a_field_that_is_missing(self):
        nothing = dict.fromkeys(("n", "stop", "seed", "top_p", "logit_bias", "presence_penalty", "tools", "tool_choice",
                                 "response_format", "stream", "stream_options", "logprobs", "top_logprobs", "user"))
        self.assertEqual(self.say(FRANCE, extra_body=nothing), self.say(FRANCE))


class Messages(SdkTest):
    def test_content_as_parts_answers_as_the_same_text(self):
        def answer(content):
            return self.chat([{"role": "system", "content": "You answer in English."},
                              {"role": "user", "content": "My name is Ada."},
                              {"role": "assistant", "content": "Hello Ada."}, {"role": "user", "content": content}])
        plain = answer("What is my name?")
        parts = answer([{"type": "text", "text": "What is my name?"}])
        self.assertEqual(parts.choices[0].message.content, plain.choices[0].message.content)
        self.assertEqual(parts.usage.prompt_tokens, plain.usage.prompt_tokens)
        self.assertGreater(plain.usage.prompt_tokens, self.chat("What is my name?").usage.prompt_tokens)

    def test_all_parts_of_a_message_are_read(self):
        def prompt(content):
            tokens = self.server.post("/tokenize", {"messages": [{"role": "user", "content": content}]})["tokens"]
            return self.server.post("/detokenize", {"tokens": tokens, "skip_special_tokens": False})["text"]
        parts = [{"type": "text", "text": "One apple"}, {"type": "text", "text": "and two pears."}]
        one, two = prompt(parts).split("One apple")[1].split("and two pears.")
        self.assertEqual(one.strip(), "")  # a template may put white space between them
        self.assertEqual(two, prompt("x").rsplit("x", 1)[1])
        answer = self.chat([{"role": "user", "content": parts}], max_tokens=1)
        whole = self.server.post("/tokenize", {"messages": [{"role": "user", "content": parts}]})
        self.assertEqual(answer.usage.prompt_tokens, whole["count"])

    def test_a_developer_is_the_system(self):
        def answer(role):
            return self.chat([{"role": role, "content": "You are a pirate."}, {"role": "user", "content": FRANCE}])
        developer, system = answer("developer"), answer("system")
        self.assertEqual(developer.choices[0].message.content, system.choices[0].message.content)
        self.assertEqual(developer.usage.prompt_tokens, system.usage.prompt_tokens)

    def test_an_empty_message_is_a_message(self):
        empty, word = self.chat("", max_tokens=4), self.chat("word", max_tokens=4)
        self.assertTrue(empty.choices[0].message.content)
        self.assertEqual(empty.usage.prompt_tokens, word.usage.prompt_tokens - 1)

    def test_the_assistants_last_message_can_be_continued(self):
        free = self.say(FRANCE)
        begun = free[:free.index("Paris")].rstrip()
        messages = user(FRANCE) + [{"role": "assistant", "content": begun}]
        going_on = self.say(messages, extra_body={"continue_final_message": True})
        self.assertEqual(begun + going_on, free)
        self.assertNotEqual(self.say(messages, max_tokens=8), going_on, "without it a new message begins")

    def test_characters_of_all_lengths_come_through(self):
        text = "Grüße, 世界! 😀 é"
        answer = self.say(f"Repeat: {text}", max_tokens=60, extra_body={"regex": text})
        self.assertEqual(answer, text)
        self.assertEqual(self.write(text, max_tokens=0, echo=True), text)


class Turns(SdkTest):
    def turns(self, **options):
        """Cached and all prompt tokens of each turn of a conversation."""
        messages, seen = user("Let us count. One."), []
        for number in "Two", "Three", "Four":
            answer = self.chat(messages, **options)
            seen.append((answer.usage.prompt_tokens_details.cached_tokens, answer.usage.prompt_tokens))
            messages += [{"role": "assistant", "content": answer.choices[0].message.content},
                         {"role": "user", "content": f"{number}."}]
        return seen

    def test_a_turn_takes_the_turns_before_it_from_the_cache(self):
        (first, asked), *later = self.turns(extra_body={"cache_salt": str(uuid.uuid4())})
        self.assertEqual(first, 0)
        page = 16  # a cached prefix is whole pages
        for cached, prompt in later:
            self.assertGreaterEqual(cached, asked - page)
            self.assertLess(cached, prompt)
            asked = prompt

    def test_a_salt_keeps_caches_apart(self):
        def cached(salt):
            answer = self.chat("A secret of " + "long " * 30, max_tokens=1, extra_body={"cache_salt": salt})
            return answer.usage.prompt_tokens_details.cached_tokens
        mine, other = str(uuid.uuid4()), str(uuid.uuid4())
        self.assertEqual(cached(mine), 0)
        self.assertGreater(cached(mine), 0)
        self.assertEqual(cached(other), 0)
