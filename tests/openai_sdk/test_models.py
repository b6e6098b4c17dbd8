"""The list of models, and how requests name one."""

import json
import time

import openai

from support import MODEL, SdkTest


class Models(SdkTest):
    def test_the_served_model_is_listed_and_can_be_retrieved(self):
        models = self.client.models.list().data
        self.assertEqual([(m.id, m.object) for m in models], [(MODEL, "model")])
        self.assertEqual(self.client.models.retrieve(MODEL), models[0])

    def test_an_unknown_model_is_not_found(self):
        error = self.refused(lambda: self.client.models.retrieve("no-such-model"), "no-such-model",
                             error=openai.NotFoundError)
        self.assertEqual((error.code, error.param), ("model_not_found", "model"))

    def test_a_model_tells_its_owner_its_start_and_its_context(self):
        model = self.client.models.retrieve(MODEL)
        self.assertEqual(model.owned_by, "sglang")
        self.assertEqual(model.max_model_len, json.loads(self.server.get("/model_info"))["context_length"])
        self.assertLessEqual(abs(time.time() - model.created), 24 * 3600)

    def test_a_request_may_name_any_model_and_gets_its_name_back(self):
        # One model is served, so that clients with a fixed name ("gpt-4o") need no change.
        self.assertEqual(self.chat("Hi", model="gpt-4o", max_tokens=1).model, "gpt-4o")
        self.assertEqual(self.complete("Hi", model="default", max_tokens=1).model, "default")
