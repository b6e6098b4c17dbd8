"""Calls of tools: by choice, streamed, through the SDK's helpers, and in conversations.

The model is small and its template knows no tools: what is sure is what the grammar makes sure.
"""

import json
from concurrent.futures import ThreadPoolExecutor
from typing import Literal

import openai
from pydantic import BaseModel

from support import SdkTest, user

TOOLS = [
    {"type": "function", "function": {"name": "weather", "description": "Weather of a city", "parameters": {
        "type": "object", "properties": {"city": {"type": "string", "maxLength": 20},
                                         "unit": {"enum": ["celsius", "fahrenheit"]}},
        "required": ["city", "unit"]}}},
    {"type": "function", "function": {"name": "add", "description": "Adds numbers", "parameters": {
        "type": "object", "properties": {"a": {"type": "integer", "minimum": -999, "maximum": 999},
                                         "b": {"type": "integer", "minimum": -999, "maximum": 999}},
        "required": ["a", "b"]}}},
]
ADD = {"type": "function", "function": {"name": "add"}}
NOW = {"type": "function", "function": {"name": "now", "description": "The time"}}
SUM = "What is 3 + 4?"


class ToolTest(SdkTest):
    def ask(self, asked=SUM, **options):
        return self.chat(asked, **{"max_tokens": 200, "tools": TOOLS, **options})

    def check(self, call):
        self.assertTrue(call.id.startswith("call_"))
        self.assertEqual(call.type, "function")
        arguments = json.loads(call.function.arguments)
        self.assertEqual(list(arguments), {"weather": ["city", "unit"], "add": ["a", "b"]}[call.function.name])


class Choices(ToolTest):
    def test_required_and_named_calls_follow_their_schemas_at_any_temperature(self):
        def answer(i):
            choice = ADD if i % 2 else "required"
            return self.ask(tool_choice=choice, parallel_tool_calls=i % 4 == 0, temperature=(0, 0.7, 1.5)[i % 3], seed=i)
        with ThreadPoolExecutor(12) as pool:
            for i, whole in enumerate(pool.map(answer, range(24))):
                choice = whole.choices[0]
                self.assertGreaterEqual(len(choice.message.tool_calls), 1)
                for call in choice.message.tool_calls:
                    self.check(call)
                if i % 4:
                    self.assertEqual(len(choice.message.tool_calls), 1)
                    self.assertEqual(choice.finish_reason, "tool_calls")
                    self.assertIsNone(choice.message.content)
                if i % 2:
                    self.assertEqual(choice.message.tool_calls[0].function.name, "add")

    def test_none_hides_the_tools_from_the_model(self):
        hidden, absent = self.ask(tool_choice="none", max_tokens=8), self.chat(SUM, max_tokens=8)
        self.assertEqual(hidden.choices[0].message, absent.choices[0].message)
        self.assertEqual(hidden.usage.prompt_tokens, absent.usage.prompt_tokens)

    def test_auto_tells_the_model_of_the_tools_and_leaves_it_free(self):
        auto, unsaid = self.ask(tool_choice="auto", max_tokens=8), self.ask(max_tokens=8)
        self.assertEqual(auto.choices[0].message, unsaid.choices[0].message)
        self.assertGreater(auto.usage.prompt_tokens, self.chat(SUM, max_tokens=1).usage.prompt_tokens)

    def test_several_calls_in_one_answer_have_ids_of_their_own(self):
        # Small models repeat calls where they may make several.
        calls = self.ask(tool_choice="required", parallel_tool_calls=True, max_tokens=100).choices[0].message.tool_calls
        self.assertGreater(len(calls), 1)
        self.assertEqual(len({call.id for call in calls}), len(calls))

    def test_each_of_n_choices_has_its_calls(self):
        answer = self.ask(tool_choice=ADD, n=2, temperature=1, seed=1)
        for choice in answer.choices:
            self.check(choice.message.tool_calls[0])

    def test_a_function_without_parameters_is_called_with_an_empty_object(self):
        call = self.ask(tools=[NOW], tool_choice="required", parallel_tool_calls=False).choices[0].message.tool_calls[0]
        self.assertEqual((call.function.name, json.loads(call.function.arguments)), ("now", {}))

    def test_a_limit_within_a_call_leaves_the_beginning_of_its_arguments(self):
        whole = self.ask(tool_choice=ADD).choices[0].message.tool_calls[0].function.arguments
        for limit in range(6, 40, 6):
            choice = self.ask(tool_choice=ADD, max_tokens=limit).choices[0]
            if choice.message.tool_calls and choice.finish_reason == "length":
                break
        self.assertEqual(choice.finish_reason, "length")
        cut = choice.message.tool_calls[0].function
        self.assertEqual(cut.name, "add")
        self.assertTrue(whole.startswith(cut.arguments), (whole, cut.arguments))

    def test_what_is_asked_of_tools_that_are_not_there_is_refused(self):
        self.refused(lambda: self.ask(tool_choice={"type": "function", "function": {"name": "subtract"}}),
                     "tool_choice.function.name", "subtract")
        self.refused(lambda: self.chat("x", tool_choice="required"), "tool_choice")
        self.refused(lambda: self.ask(tool_choice="perhaps"), "tool_choice", "perhaps")

    def test_names_that_are_no_names_or_come_twice_are_refused(self):
        def named(name):
            return {"type": "function", "function": {"name": name}}
        self.refused(lambda: self.ask(tools=[named("a b")]), "tools[0].function.name", "a b")
        self.refused(lambda: self.ask(tools=[named("a"), named("a")]), "tools[1].function.name")


class Streams(ToolTest):
    def test_streamed_calls_are_the_whole_ones(self):
        for options in ({"tool_choice": "required"}, {"tool_choice": ADD}, {}):
            options = {"temperature": 0.7, "seed": 3, "max_tokens": 60, **options}
            whole = self.ask(**options).choices[0]
            text, calls, reason = "", [], None
            for chunk in self.ask(stream=True, **options):
                delta = chunk.choices[0].delta
                text += delta.content or ""
                reason = chunk.choices[0].finish_reason or reason
                for call in delta.tool_calls or []:
                    if call.id:
                        calls.append([call.function.name, ""])
                    calls[call.index][1] += call.function.arguments
            self.assertEqual(text, whole.message.content or "")
            self.assertEqual(reason, whole.finish_reason)
            self.assertEqual(calls, [[c.function.name, c.function.arguments] for c in whole.message.tool_calls or []])

    def test_the_arguments_of_a_required_call_come_while_they_are_written(self):
        deltas = [call for chunk in self.ask(tool_choice=ADD, stream=True)
                  for call in chunk.choices[0].delta.tool_calls or []]
        self.assertEqual([bool(call.id) for call in deltas[:2]], [True, False])
        self.assertEqual(deltas[0].function.name, "add")
        self.assertGreater(sum(bool(call.function.arguments) for call in deltas), 2)


class Weather(BaseModel):
    """Weather of a city."""

    city: Literal["Paris", "Rome"]
    days: Literal[1, 2, 3]


class Helpers(ToolTest):
    def test_a_class_is_a_strict_tool_and_its_call_an_object(self):
        tool = openai.pydantic_function_tool(Weather)
        self.assertTrue(tool["function"]["strict"])
        message = self.client.chat.completions.parse(model="default", messages=user("How is the weather in Rome?"),
                                                     tools=[tool], tool_choice="required", parallel_tool_calls=False,
                                                     temperature=0, max_tokens=100).choices[0].message
        self.assertIsInstance(message.tool_calls[0].function.parsed_arguments, Weather)

    def test_the_streaming_helper_gathers_a_call(self):
        tool = openai.pydantic_function_tool(Weather)
        with self.client.chat.completions.stream(model="default", messages=user("How is the weather in Rome?"),
                                                 tools=[tool], tool_choice="required", parallel_tool_calls=False,
                                                 temperature=0, max_tokens=100) as stream:
            events = list(stream)
            final = stream.get_final_completion().choices[0]
        done = [event for event in events if event.type == "tool_calls.function.arguments.done"]
        self.assertEqual([event.name for event in done], ["Weather"])
        self.assertEqual(done[0].arguments, final.message.tool_calls[0].function.arguments)
        self.assertIsInstance(final.message.tool_calls[0].function.parsed_arguments, Weather)
        self.assertEqual(final.finish_reason, "tool_calls")


class Conversations(ToolTest):
    def test_what_a_call_gave_can_be_sent_back(self):
        call = self.ask(tool_choice=ADD).choices[0].message
        messages = user(SUM) + [call, {"role": "tool", "tool_call_id": call.tool_calls[0].id, "content": "7"}]
        answer = self.ask(messages, max_tokens=16)
        self.assertTrue(answer.choices[0].message.content or answer.choices[0].message.tool_calls)
        self.assertGreater(answer.usage.prompt_tokens, self.ask(max_tokens=1).usage.prompt_tokens)

    def test_a_free_call_that_the_model_makes_is_found(self):
        # It goes on as the conversation went.
        messages = user("What is 1 + 2?")
        for a, b in (1, 2), (5, 6), (20, 7), (8, 30):
            if messages[-1]["role"] != "user":
                messages.append({"role": "user", "content": f"What is {a} + {b}?"})
            call = {"id": f"call_{a}", "type": "function",
                    "function": {"name": "add", "arguments": json.dumps({"a": a, "b": b})}}
            messages += [{"role": "assistant", "content": None, "tool_calls": [call]},
                         {"role": "tool", "tool_call_id": call["id"], "content": str(a + b)},
                         {"role": "assistant", "content": f"It is {a + b}."}]
        messages.append({"role": "user", "content": "What is 3 + 4?"})
        choice = self.ask(messages, max_tokens=48).choices[0]
        self.assertEqual(choice.finish_reason, "tool_calls", choice)
        self.assertEqual(choice.message.tool_calls[0].function.name, "add")

    def test_with_a_response_format_words_follow_it_and_calls_stay_possible(self):
        schema = {"type": "object", "properties": {"sum": {"type": "integer", "maximum": 99, "minimum": 0}},
                  "required": ["sum"], "additionalProperties": False}
        message = self.ask(max_tokens=60, response_format={"type": "json_schema", "json_schema": {
            "name": "sum", "schema": schema}}).choices[0].message
        if message.tool_calls:  # free ones: their arguments are the model's affair
            self.assertIn(message.tool_calls[0].function.name, ("weather", "add"))
        else:
            self.assertEqual(list(json.loads(message.content)), ["sum"])
