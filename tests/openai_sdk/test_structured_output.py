"""Answers that follow a schema, a pattern or a grammar, and the SDK's parsing of them into classes."""

import asyncio
import enum
import json
from concurrent.futures import ThreadPoolExecutor
from typing import List, Literal, Optional

import openai
from pydantic import BaseModel, Field

from support import MODEL, SdkTest, async_client, user

HOUSES = ["Gryffindor", "Hufflepuff", "Ravenclaw", "Slytherin"]
WIZARD = {
    "type": "object",
    "properties": {"name": {"type": "string", "maxLength": 16}, "age": {"type": "integer", "minimum": 0, "maximum": 200},
                   "house": {"enum": HOUSES}},
    "required": ["name", "age", "house"],
    "additionalProperties": False,
}
FORMAT = {"type": "json_schema", "json_schema": {"name": "wizard", "strict": True, "schema": WIZARD}}
YES = {"type": "object", "properties": {"yes": {"type": "boolean"}}, "required": ["yes"], "additionalProperties": False}


class Schemas(SdkTest):
    def check(self, text):
        wizard = json.loads(text)
        self.assertEqual(list(wizard), ["name", "age", "house"])
        self.assertLessEqual(len(wizard["name"]), 16)
        self.assertIn(wizard["age"], range(201))
        self.assertIn(wizard["house"], HOUSES)

    def test_a_schema_is_followed_at_any_temperature_by_many_at_once(self):
        with ThreadPoolExecutor(12) as pool:
            answers = pool.map(lambda i: self.chat("Invent a wizard.", max_tokens=128, temperature=(0, 0.7, 1.5)[i % 3],
                                                   seed=i, response_format=FORMAT), range(24))
        for answer in answers:
            self.assertEqual(answer.choices[0].finish_reason, "stop")
            self.check(answer.choices[0].message.content)

    def test_each_of_n_choices_follows_and_streamed_is_whole(self):
        options = {"max_tokens": 128, "n": 2, "temperature": 0.7, "seed": 5, "response_format": FORMAT}
        whole = [choice.message.content for choice in self.chat("Invent a wizard.", **options).choices]
        texts = ["", ""]
        for chunk in self.chat("Invent a wizard.", stream=True, **options):
            for choice in chunk.choices:
                texts[choice.index] += choice.delta.content or ""
        self.assertEqual(texts, whole)
        for text in whole:
            self.check(text)

    def test_a_json_object_is_one(self):
        choice = self.chat("Invent a wizard, as JSON.", max_tokens=60, response_format={"type": "json_object"}).choices[0]
        if choice.finish_reason == "stop":
            self.assertIsInstance(json.loads(choice.message.content), dict)
        else:
            self.assertTrue(choice.message.content.startswith("{"))

    def test_text_is_the_format_of_old(self):
        self.assertEqual(self.say("Name a colour.", response_format={"type": "text"}), self.say("Name a colour."))

    def test_a_schema_as_text_is_the_same_as_a_response_format(self):
        format = {"type": "json_schema", "json_schema": {"name": "yes", "schema": YES}}
        by_format = self.say("Is water wet?", response_format=format)
        self.assertEqual(self.say("Is water wet?", extra_body={"json_schema": json.dumps(YES)}), by_format)
        self.assertEqual(list(json.loads(by_format)), ["yes"])

    def test_completions_take_a_response_format_too(self):
        format = {"type": "json_schema", "json_schema": {"name": "yes", "schema": YES}}
        text = self.write("Is water wet? As JSON: ", max_tokens=24, extra_body={"response_format": format})
        self.assertIsInstance(json.loads(text)["yes"], bool)

    def test_what_cannot_be_honoured_is_a_bad_request_that_names_it(self):
        schema = {"type": "string", "format": "idn-email"}
        self.refused(lambda: self.chat("x", response_format={"type": "json_schema",
                                                             "json_schema": {"name": "x", "schema": schema}}), "idn-email")
        self.refused(lambda: self.chat("x", response_format={"type": "yaml"}), "response_format.type", "yaml")


class Grammars(SdkTest):
    def test_a_regular_expression_is_matched_whole(self):
        self.assertRegex(self.write("The year was ", extra_body={"regex": "(19|20)[0-9]{2}"}), r"\A(19|20)[0-9]{2}\Z")

    def test_a_grammar_says_what_may_stand(self):
        self.assertIn(self.write("Yes or no? ", extra_body={"ebnf": 'root ::= "yes" | "no"'}), ("yes", "no"))

    def test_a_structural_tag_says_what_stands_between_tags(self):
        tag = {"type": "structural_tag", "format": {"type": "tag", "begin": "<yes>", "end": "</yes>", "content": {
            "type": "json_schema", "json_schema": YES}}}
        text = self.say("Is water wet?", max_tokens=40, response_format=tag)
        self.assertRegex(text, r"\A<yes>.*</yes>\Z")
        self.assertIsInstance(json.loads(text[len("<yes>"):-len("</yes>")])["yes"], bool)

    def test_two_grammars_and_malformed_ones_are_refused(self):
        self.refused(lambda: self.chat("x", extra_body={"regex": "a", "ebnf": 'root ::= "a"'}), "regex", "ebnf")
        self.refused(lambda: self.chat("x", response_format={"type": "json_object"}, extra_body={"regex": "a"}), "regex")
        self.refused(lambda: self.chat("x", extra_body={"regex": "(a"}), "regex", "')'")
        self.refused(lambda: self.chat("x", extra_body={"ebnf": "root"}), "ebnf", "line 1")


class House(enum.Enum):
    lion, badger, eagle, snake = HOUSES


class Wand(BaseModel):
    wood: Literal["holly", "yew"]


class Wizard(BaseModel):
    name: Literal["Ada", "Alan", "Grace"]
    house: House
    wand: Optional[Wand]
    pets: List[Literal["cat", "owl"]] = Field(max_length=1)


class Parsing(SdkTest):
    """client.chat.completions.parse(): the SDK makes a strict schema of a class, and an object of the answer."""

    ASKED = {"model": MODEL, "messages": user("Invent a wizard."), "max_tokens": 120, "temperature": 0}

    def test_an_answer_becomes_an_object_of_the_class(self):
        message = self.client.chat.completions.parse(response_format=Wizard, **self.ASKED).choices[0].message
        self.assertIsInstance(message.parsed, Wizard)
        self.assertEqual(message.parsed, Wizard.model_validate_json(message.content))

    def test_so_does_a_stream(self):
        with self.client.chat.completions.stream(response_format=Wizard, **self.ASKED) as stream:
            done = [event for event in stream if event.type == "content.done"]
            final = stream.get_final_completion()
        self.assertEqual(len(done), 1)
        self.assertIsInstance(done[0].parsed, Wizard)
        self.assertEqual(final.choices[0].message.parsed, done[0].parsed)

    def test_and_that_of_an_asynchronous_client(self):
        async def ask():
            async with async_client() as client:
                return await client.chat.completions.parse(response_format=Wizard, **self.ASKED)
        self.assertIsInstance(asyncio.run(ask()).choices[0].message.parsed, Wizard)

    def test_an_answer_that_is_cut_off_is_no_object(self):
        with self.assertRaises(openai.LengthFinishReasonError):
            self.client.chat.completions.parse(response_format=Wizard, **{**self.ASKED, "max_tokens": 4})
