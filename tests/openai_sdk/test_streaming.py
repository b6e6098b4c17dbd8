"""Streams of chat: pieces, usage, and the SDK's own helpers over them."""

import json

from support import SdkTest, user

FRANCE = "What is the capital of France?"
QUESTION = "Name three colours, and say in one sentence what an emoji is."


class Streams(SdkTest):
    def test_pieces_of_a_stream_make_the_whole_answer(self):
        whole = self.chat(QUESTION, max_tokens=32)
        text, roles, reasons, ids = "", [], [], set()
        for chunk in self.chat(QUESTION, max_tokens=32, stream=True):
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

    def test_usage_can_come_with_each_piece(self):
        options = {"include_usage": True, "continuous_usage_stats": True}
        counts = [chunk.usage.completion_tokens for chunk in self.chat(QUESTION, max_tokens=8, stream=True,
                                                                       stream_options=options)]
        self.assertEqual(counts, sorted(counts))
        self.assertEqual(counts[-1], 8)
        self.assertGreater(len(set(counts)), 4)

    def test_n_streams_interleave_by_index(self):
        texts, ended = {}, []
        for chunk in self.chat("Tell me a story.", n=3, temperature=1, max_tokens=8, stream=True):
            for choice in chunk.choices:
                texts[choice.index] = texts.get(choice.index, "") + (choice.delta.content or "")
                ended += [choice.index] if choice.finish_reason else []
        self.assertEqual(sorted(texts), [0, 1, 2])
        self.assertEqual(sorted(ended), [0, 1, 2])

    def test_no_piece_ends_within_a_character(self):
        prompt = "世界 世界 世界 世界"  # goes on alike; each of these characters is two or three tokens
        pieces = [chunk.choices[0].text for chunk in self.complete(prompt, max_tokens=16, stream=True) if chunk.choices]
        self.assertIn("世界", "".join(pieces))
        self.assertNotIn("\ufffd", "".join(pieces[:-1]))  # the limit may fall within a character
        self.assertLess(len([piece for piece in pieces if piece]), 16)

    def test_tokens_can_come_several_in_a_piece(self):
        def pieces(**options):
            return [c.choices[0].delta.content for c in self.chat(QUESTION, stream=True, max_tokens=16, **options)
                    if c.choices and c.choices[0].delta.content]
        each, eighth = pieces(), pieces(extra_body={"stream_interval": 8})
        self.assertEqual("".join(eighth), "".join(each))
        self.assertLess(len(eighth), len(each) / 2)

    def test_the_wire_is_events_that_end_with_done(self):
        with self.client.chat.completions.with_streaming_response.create(
                model="default", messages=[{"role": "user", "content": "Hi"}], max_tokens=3, stream=True) as response:
            self.assertEqual(response.status_code, 200)
            self.assertTrue(response.headers["content-type"].startswith("text/event-stream"))
            lines = [line for line in response.iter_lines() if line]
        self.assertTrue(all(line.startswith("data: ") for line in lines), lines)
        self.assertEqual(lines[-1], "data: [DONE]")
        self.assertEqual({json.loads(line[6:])["object"] for line in lines[:-1]}, {"chat.completion.chunk"})


class Helper(SdkTest):
    """client.chat.completions.stream(): events, and a snapshot of what there is so far."""

    def stream(self, asked, **options):
        options = {"model": "default", "temperature": 0, "max_tokens": 24, **options}  # enough: the helper wants an end
        return self.client.chat.completions.stream(messages=user(asked), **options)

    def test_events_of_content_end_with_the_whole(self):
        with self.stream(FRANCE) as stream:
            events = list(stream)
            final = stream.get_final_completion()
        deltas = [event.delta for event in events if event.type == "content.delta"]
        done = [event.content for event in events if event.type == "content.done"]
        whole = self.chat(FRANCE)
        self.assertEqual(["".join(deltas)], done)
        self.assertEqual(done, [whole.choices[0].message.content])
        self.assertEqual(final.choices[0].message.content, done[0])
        self.assertEqual(final.choices[0].finish_reason, whole.choices[0].finish_reason)

    def test_the_final_completion_has_usage_where_asked_for(self):
        with self.stream(FRANCE, stream_options={"include_usage": True}) as stream:
            final = stream.get_final_completion()
        self.assertEqual(final.usage.completion_tokens,
                         self.chat(FRANCE).usage.completion_tokens)

    def test_events_of_log_probabilities_add_up(self):
        with self.stream(FRANCE, logprobs=True, top_logprobs=2) as stream:
            events = list(stream)
            final = stream.get_final_completion()
        deltas = [entry for event in events if event.type == "logprobs.content.delta" for entry in event.content]
        self.assertGreater(len(deltas), 4)
        self.assertEqual(deltas, final.choices[0].logprobs.content)
