"""What is refused, with which class of error, and that the message names what was wrong."""

import openai

from support import GUARDED, KEY, ADMIN_KEY, SdkTest


class Fields(SdkTest):
    def test_parameters_out_of_range_are_bad_requests_that_name_them(self):
        for parameter, value in [("temperature", -1), ("top_p", 0), ("top_p", 1.5), ("n", 0), ("frequency_penalty", 3),
                                 ("presence_penalty", -3), ("max_tokens", -5), ("top_logprobs", 21)]:
            with self.subTest(parameter=parameter, value=value):
                self.refused(lambda: self.chat("Hi", logprobs=True, **{parameter: value}), parameter)

    def test_so_are_those_that_only_sglang_has(self):
        for parameter, value in [("top_k", 0), ("min_p", 2), ("repetition_penalty", 0), ("min_tokens", -1),
                                 ("stream_interval", 0), ("stop_token_ids", [49152])]:
            with self.subTest(parameter=parameter, value=value):
                self.refused(lambda: self.chat("Hi", extra_body={parameter: value}), parameter)

    def test_values_of_a_wrong_type_are_bad_requests(self):
        # Not 422: whatever is wrong with a body is a 400.
        for body in [{"messages": "hello"}, {"messages": []}, {"messages": [{"role": "user"}]}, {"stop": 5},
                     {"temperature": "hot"}, {"tools": {}}, {"logit_bias": [1]}, {"seed": 1.5}, {"stream": "yes"}]:
            with self.subTest(body=body):
                self.refused(lambda: self.chat("Hi", extra_body=body), list(body)[0])

    def test_a_message_of_nobodys_role_is_named_by_its_place(self):
        self.refused(lambda: self.chat([{"role": "user", "content": "Hi"}, {"role": "wizard", "content": "Ho"}]),
                     "messages[1].role", "wizard")

    def test_what_the_model_cannot_take_in_or_give_out_is_refused(self):
        picture = {"type": "image_url", "image_url": {"url": "https://example.com/a.png"}}
        self.refused(lambda: self.chat([{"role": "user", "content": [picture]}]), "messages[0].content[0]", "image_url")
        self.refused(lambda: self.chat("Hi", modalities=["text", "audio"]), "modalities", "audio")
        self.refused(lambda: self.chat("Hi", functions=[{"name": "f", "parameters": {}}]), "functions", "tools")

    def test_fields_that_need_another_are_refused_without_it(self):
        self.refused(lambda: self.chat("Hi", top_logprobs=2), "top_logprobs", "logprobs")
        self.refused(lambda: self.chat("Hi", extra_body={"stream_options": {"include_usage": True}}), "stream_options")
        self.refused(lambda: self.chat("Hi", extra_body={"continue_final_message": True}), "continue_final_message")

    def test_a_bias_of_what_is_no_token_is_refused(self):
        self.refused(lambda: self.chat("Hi", logit_bias={"49152": 1}), "logit_bias", "49152")
        self.refused(lambda: self.chat("Hi", logit_bias={"hello": 1}), "logit_bias", "hello")

    def test_more_stop_strings_than_can_be_looked_for_and_empty_ones_are_refused(self):
        self.refused(lambda: self.chat("Hi", stop=[f"stop {i}" for i in range(33)]), "32 stop strings", "33")
        self.refused(lambda: self.chat("Hi", stop=""), "stop string")


class Lengths(SdkTest):
    def test_a_prompt_longer_than_the_context_is_refused_with_both_numbers(self):
        error = self.refused(lambda: self.chat("word " * 20000), "8192")
        self.assertRegex(error.message, r"2\d{4} tokens")

    def test_a_prompt_and_an_answer_longer_than_the_context_are_refused_with_all_numbers(self):
        prompt = self.chat("Hi", max_tokens=1).usage.prompt_tokens
        self.refused(lambda: self.chat("Hi", max_tokens=8192), f"{prompt} tokens", "8192 tokens", str(prompt + 8192))


class Bodies(SdkTest):
    def test_an_error_has_all_that_openais_have(self):
        error = self.refused(lambda: self.chat("Hi", temperature=-1))
        self.assertEqual((error.status_code, error.code, error.param), (400, "400", None))
        self.assertEqual(error.type, "BadRequestError")
        self.assertEqual(error.body["message"], "temperature must be a number ≥ 0, got -1")
        self.assertEqual(error.request_id, error.response.headers["x-request-id"])

    def test_errors_of_a_stream_come_before_it_begins(self):
        with self.assertRaises(openai.BadRequestError):
            self.chat("Hi", stream=True, temperature=-1)

    def test_malformed_json_is_refused_with_its_place(self):
        for body, place in [(b'{"model":', "byte"), (b'{"messages": [], "temperature": NaN}', "byte 3"),
                            (b'{"messages": "\xff"}', "UTF-8"), (b"[]", "object")]:
            with self.subTest(body=body):
                self.refused(lambda: self.client.post("/chat/completions", content=body, cast_to=object), place)

    def test_a_body_that_says_it_is_no_json_is_refused(self):
        self.refused(lambda: self.chat("Hi", extra_headers={"Content-Type": "text/plain"}), "application/json",
                     "text/plain")


class Routes(SdkTest):
    def test_an_unknown_route_is_not_found(self):
        with self.assertRaises(openai.NotFoundError):
            self.client.post("/no_such_route", cast_to=object, body={})

    def test_a_wrong_method_is_told_the_right_ones(self):
        error = self.refused(lambda: self.client.get("/chat/completions", cast_to=object), "GET", error=openai.APIStatusError)
        self.assertEqual((error.status_code, error.response.headers["allow"]), (405, "OPTIONS, POST"))

    def test_a_dialect_that_is_not_spoken_says_what_is(self):
        error = self.refused(lambda: self.client.responses.create(model="x", input="Hi"), "/v1/chat/completions",
                             error=openai.InternalServerError)
        self.assertEqual(error.status_code, 501)

    def test_a_model_that_generates_embeds_nothing(self):
        self.refused(lambda: self.client.embeddings.create(model="x", input="Hi"), "embed", "LlamaForCausalLM")

    def test_the_server_still_answers_after_all_that(self):
        self.assertTrue(self.say("Hi", max_tokens=2))


class Keys(SdkTest):
    flags = GUARDED

    def test_the_right_key_opens(self):
        self.assertTrue(self.say("Hi", max_tokens=1))

    def test_a_wrong_key_does_not(self):
        for key in "another", KEY + "x", KEY[:-1]:
            with self.subTest(key=key):
                error = self.refused(self.client.with_options(api_key=key).models.list, error=openai.AuthenticationError)
                self.assertEqual(error.body, "Unauthorized")

    def test_the_operators_routes_want_the_operators_key(self):
        def flush(key):
            return self.client.with_options(api_key=key, base_url=self.server.url).post("/flush_cache", cast_to=str)
        self.assertEqual(self.refused(lambda: flush(KEY), error=openai.PermissionDeniedError).body, "Forbidden")
        self.assertIn("flushed", flush(ADMIN_KEY))

    def test_a_body_beyond_the_limit_is_too_large(self):
        error = self.refused(lambda: self.say("x" * 70000), "65536", error=openai.APIStatusError)
        self.assertEqual(error.status_code, 413)
