"""The clients themselves: many at once, asynchronous, raw answers, timeouts, retries, and those that leave."""

import asyncio
import json
import socket
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import openai

from support import GUARDED, KEY, MODEL, SdkTest, async_client, user

FRANCE = "What is the capital of France?"
ENDLESS = {"max_tokens": 7000, "extra_body": {"ignore_eos": True}}


class ManyAtOnce(SdkTest):
    def test_32_at_once_streamed_and_not_answer_as_each_alone(self):
        questions = [f"Write one sentence about the number {i}." for i in range(16)]
        alone = [self.say(q, max_tokens=12) for q in questions]

        async def ask(client, question, stream):
            options = {"model": MODEL, "messages": user(question), "temperature": 0, "max_tokens": 12}
            if not stream:
                return (await client.chat.completions.create(**options)).choices[0].message.content
            text = ""
            async for chunk in await client.chat.completions.create(stream=True, **options):
                text += (chunk.choices[0].delta.content or "") if chunk.choices else ""
            return text

        async def ask_all():
            async with async_client() as client:
                return await asyncio.gather(*(ask(client, q, stream) for q in questions for stream in (False, True)))

        answers = asyncio.run(ask_all())
        self.assertEqual(len(answers), 32)
        for i, text in enumerate(alone):
            self.assertEqual(answers[2 * i:2 * i + 2], [text, text], questions[i])


class Asynchronous(SdkTest):
    def test_completions_and_models_are_awaited_alike(self):
        async def ask():
            async with async_client() as client:
                answer = await client.completions.create(model=MODEL, prompt="One, two,", temperature=0, max_tokens=4)
                return answer.choices[0].text, [model.id async for model in client.models.list()]
        self.assertEqual(asyncio.run(ask()), (self.write("One, two,", max_tokens=4), [MODEL]))

    def test_the_streaming_helper_is_awaited_alike(self):
        async def ask():
            async with async_client() as client, client.chat.completions.stream(
                    model=MODEL, messages=user(FRANCE), temperature=0, max_tokens=24) as stream:
                deltas = [event.delta async for event in stream if event.type == "content.delta"]
                return "".join(deltas), (await stream.get_final_completion()).choices[0].message.content
        whole = self.say(FRANCE)
        self.assertEqual(asyncio.run(ask()), (whole, whole))


class Raw(SdkTest):
    def test_a_raw_response_has_headers_and_parses_to_the_answer(self):
        raw = self.client.chat.completions.with_raw_response.create(model=MODEL, messages=user("Hi"), max_tokens=2)
        self.assertEqual(raw.status_code, 200)
        self.assertEqual(raw.headers["content-type"], "application/json")
        self.assertEqual(int(raw.headers["content-length"]), len(raw.content))
        answer = raw.parse()
        self.assertEqual(answer.to_dict(), json.loads(raw.content))
        self.assertEqual(answer._request_id, raw.headers["x-request-id"])

    def test_a_clients_own_request_id_comes_back(self):
        answer = self.chat("Hi", max_tokens=1, extra_headers={"X-Request-Id": "order-66"})
        self.assertEqual(answer._request_id, "order-66")


class Times(SdkTest):
    def aborted(self):
        return json.loads(self.server.get("/server_info"))["internal_states"][0]["num_aborted_requests_total"]

    def idle(self):
        """Waits until nothing runs or waits: then flushing succeeds."""
        self.assertEqual(self.server.open("/flush_cache?timeout=300").status, 200)

    def left(self, leave, times):
        """Checks that requests whose clients leave are aborted, and what they held is free."""
        self.idle()
        before = self.aborted()
        leave()
        self.idle()  # because they were aborted, not because they ended
        self.assertEqual(self.aborted(), before + times)
        self.assertTrue(self.say("Hi", max_tokens=2))

    def test_a_client_that_leaves_mid_stream_frees_what_it_held(self):
        def leave():
            for _ in range(3):
                stream = self.chat("Tell me a very long story.", stream=True, **ENDLESS)
                for _, chunk in zip(range(5), stream):
                    self.assertTrue(chunk.choices)
                stream.close()
        self.left(leave, 3)

    def test_a_client_that_waits_no_longer_frees_what_it_held(self):
        def leave():
            with self.assertRaises(openai.APITimeoutError):
                self.client.with_options(timeout=5).chat.completions.create(model=MODEL, messages=user("Hi"), **ENDLESS)
        self.left(leave, 1)

    def test_a_task_that_is_cancelled_frees_what_it_held(self):
        async def leave():
            async with async_client() as client:
                stream = await client.chat.completions.create(model=MODEL, messages=user("Hi"), stream=True, **ENDLESS)
                begun = asyncio.Event()

                async def read():
                    async for _ in stream:
                        begun.set()
                task = asyncio.create_task(read())
                await begun.wait()
                task.cancel()
                await asyncio.gather(task, return_exceptions=True)
                await stream.close()
        self.left(lambda: asyncio.run(leave()), 1)

    def test_a_client_may_set_a_request_a_deadline(self):
        error = self.refused(lambda: self.chat("Hi", extra_headers={"X-Request-Timeout": "0.3"}, **ENDLESS), "0.3 s",
                             error=openai.InternalServerError)
        self.assertEqual(error.status_code, 504)
        self.refused(lambda: self.chat("Hi", extra_headers={"X-Request-Timeout": "soon"}), "X-Request-Timeout")

    def test_nobody_listening_is_a_connection_error(self):
        with socket.socket() as taken:
            taken.bind(("127.0.0.1", 0))  # and does not listen
            client = self.client.with_options(base_url=f"http://127.0.0.1:{taken.getsockname()[1]}/v1")
            with self.assertRaises(openai.APIConnectionError):
                client.models.list()


class FullQueue(SdkTest):
    """One request runs and one waits: there is no room for a third."""

    flags = GUARDED

    def loads(self):
        return self.client.with_options(base_url=self.server.url).get("/v1/loads", cast_to=object)["loads"][0]

    def fill(self):
        """Returns what ends the one that runs, so that the one that waits ends soon, too."""
        running = self.chat("Tell me a very long story.", stream=True, **ENDLESS)
        next(iter(running))
        pool = ThreadPoolExecutor(1)
        waiting = pool.submit(self.say, "Hi", max_tokens=1)
        while self.loads()["num_waiting_reqs"] == 0:
            time.sleep(0.01)

        def empty():
            running.close()
            self.assertTrue(waiting.result())
            pool.shutdown()
        return empty

    def test_a_full_queue_is_told_at_once_and_when_to_come_again(self):
        empty = self.fill()
        try:
            error = self.refused(lambda: self.say("Hi"), "queue is full", error=openai.InternalServerError)
        finally:
            empty()
        self.assertEqual((error.status_code, error.response.headers["retry-after"]), (503, "1"))

    def test_the_sdk_tries_again_until_there_is_room(self):
        empty, statuses, once = self.fill(), [], threading.Lock()

        def heard(response):
            statuses.append(response.status_code)
            if once.acquire(blocking=False):
                empty()
        with openai.OpenAI(base_url=self.server.url + "/v1", api_key=KEY, max_retries=5,
                           http_client=openai.DefaultHttpxClient(event_hooks={"response": [heard]})) as client:
            answer = client.completions.create(model=MODEL, prompt="Hi", max_tokens=1)
        self.assertEqual(answer.usage.completion_tokens, 1)
        self.assertEqual((statuses[0], statuses[-1]), (503, 200))
