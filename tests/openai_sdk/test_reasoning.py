"""Thinking apart from the answer, with two tags of our own: the model here has no thinking, but its answers are known to
begin with "The" and to have an "is" in them, and what stands between the two is thinking as good as any."""

import json

from support import SdkTest, user

FRANCE = "What is the capital of France?"


class Reasoning(SdkTest):
    flags = ("--reasoning-parser", "The,is")

    def test_what_stands_between_the_tags_is_thinking_and_the_rest_the_answer(self):
        whole = self.say(FRANCE, extra_body={"separate_reasoning": False})
        thinking, answer = whole.removeprefix("The").split("is", 1)
        message = self.chat(FRANCE).choices[0].message
        self.assertEqual((message.reasoning_content, message.content), (thinking.strip(), answer.strip()))

    def stream(self, **options):
        pieces = [chunk.choices[0].delta for chunk in self.chat(FRANCE, stream=True, **options)]
        thoughts = [p.reasoning_content for p in pieces if getattr(p, "reasoning_content", None)]
        return thoughts, [p.content for p in pieces if p.content]

    def test_a_stream_sends_both_in_pieces(self):
        whole = self.chat(FRANCE).choices[0].message
        thoughts, answer = self.stream()
        self.assertEqual(("".join(thoughts), "".join(answer)), (whole.reasoning_content, whole.content))
        self.assertGreater(len(thoughts), 1)

    def test_the_thinking_can_come_in_one_piece(self):
        thoughts, answer = self.stream(extra_body={"stream_reasoning": False})
        whole = self.chat(FRANCE).choices[0].message
        self.assertEqual((thoughts, "".join(answer)), ([whole.reasoning_content], whole.content))

    def test_a_format_of_the_answer_begins_behind_the_thinking(self):
        format = {"type": "json_schema", "json_schema": {"name": "city", "schema": {
            "type": "object", "properties": {"city": {"enum": ["Paris", "Rome"]}}, "required": ["city"],
            "additionalProperties": False}}}
        message = self.chat(FRANCE, max_tokens=60, response_format=format).choices[0].message
        self.assertIn(json.loads(message.content)["city"], ("Paris", "Rome"))

    def test_a_message_goes_back_with_its_thinking(self):
        first = self.chat(FRANCE).choices[0].message
        messages = user(FRANCE) + [first, {"role": "user", "content": "And of Italy?"}]
        answer = self.chat(messages, max_tokens=8)
        self.assertTrue(answer.choices[0].message.content or answer.choices[0].message.reasoning_content)
        self.assertGreater(answer.usage.prompt_tokens, self.chat(FRANCE, max_tokens=1).usage.prompt_tokens)
