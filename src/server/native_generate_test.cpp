// POST /generate: what becomes of its fields, and what its answers look like.

#include "server/native_generate.h"

#include <string>

#include <gtest/gtest.h>

#include "server/sampling_fields.h"
#include "server/test_service.h"

namespace sgl {
namespace {

const char* const kReply = "Hello, wörld!";

TEST(Generate, OneTextGivesOneObject) {
  TestService t;
  const Json answer = t.ok("/generate", R"({"text":"Hi","sampling_params":{"temperature":0}})");
  EXPECT_EQ(answer["text"], kReply);
  EXPECT_EQ(answer["output_ids"].size(), 15U) << "the ids keep the stop token";
  EXPECT_EQ(answer["output_ids"].back(), ByteTokenizer::kEos);
  const Json& info = answer["meta_info"];
  EXPECT_EQ(info["id"].get<std::string>().size(), 32U);
  EXPECT_EQ(info["finish_reason"], Json::parse(R"({"type":"stop","matched":257})"));
  EXPECT_EQ(info["prompt_tokens"], 3);
  EXPECT_EQ(info["completion_tokens"], 15);
  EXPECT_EQ(info["cached_tokens"], 3);
  EXPECT_EQ(info["weight_version"], "default");
  EXPECT_EQ(info["num_retractions"], 0);
  EXPECT_GE(info["e2e_latency"].get<double>(), 0);
  EXPECT_EQ(info["reasoning_tokens"], 0);
  EXPECT_EQ(info["cached_tokens_details"], Json::parse(R"({"device":3,"host":0})"));
  EXPECT_GT(info["response_sent_to_client_ts"].get<double>(), 1.7e9) << "seconds since 1970";
  for (const char* timed :
       {"request_received_ts", "request_finished_ts", "queue_time", "first_token_latency", "decode_throughput"}) {
    EXPECT_FALSE(info.contains(timed)) << timed;
  }
  EXPECT_FALSE(info.contains("input_token_logprobs"));
  EXPECT_EQ(t.engine->last().sampling.temperature, 0);
  EXPECT_EQ(t.engine->last().sampling.max_new_tokens, 128);
}

TEST(Generate, WithMetricsTheAnswerHasItsTimes) {
  ServerOptions options;
  options.enable_metrics = true;
  TestService t(options);
  const Json info = t.ok("/generate", R"({"text":"Hi"})")["meta_info"];
  const double received = info["request_received_ts"], finished = info["request_finished_ts"];
  EXPECT_NEAR(finished - received, info["e2e_latency"].get<double>(), 1e-4);
  EXPECT_LE(received, info["response_sent_to_client_ts"].get<double>());
  EXPECT_GE(info["queue_time"].get<double>(), 0);
  const double first = info["first_token_latency"], rest = info["e2e_latency"].get<double>() - first;
  EXPECT_GT(first, 0);
  EXPECT_NEAR(info["decode_throughput"].get<double>() * rest, info["completion_tokens"].get<int>() - 1, 1e-3);
}

TEST(Generate, PutWorksAndTheContentTypeDoesNotMatter) {
  TestService t;
  EXPECT_EQ(t.call("PUT", "/generate", R"({"text":"Hi"})", "").status, 200);
  EXPECT_EQ(t.call("POST", "/generate", R"({"text":"Hi"})", "text/plain").status, 200);
}

TEST(Generate, AListEvenOfOneGivesAList) {
  TestService t;
  const Json one = t.ok("/generate", R"({"text":["a"],"sampling_params":{"max_new_tokens":1}})");
  ASSERT_TRUE(one.is_array());
  EXPECT_EQ(one.size(), 1U);
  const Json ids =
      t.ok("/generate", R"({"input_ids":[[1,2],[3]],"sampling_params":[{"max_new_tokens":1},{"max_new_tokens":2}]})");
  ASSERT_EQ(ids.size(), 2U);
  EXPECT_EQ(ids[0]["meta_info"]["prompt_tokens"], 2);
  EXPECT_EQ(ids[0]["meta_info"]["completion_tokens"], 1);
  EXPECT_EQ(ids[1]["meta_info"]["prompt_tokens"], 1);
  EXPECT_EQ(ids[1]["meta_info"]["completion_tokens"], 2);
  EXPECT_EQ(ids[1]["meta_info"]["finish_reason"], Json::parse(R"({"type":"length","length":2})"));
  const Json flat = t.ok("/generate", R"({"input_ids":[1,2,3],"sampling_params":{"max_new_tokens":1}})");
  EXPECT_TRUE(flat.is_object());
}

TEST(Generate, SeveralSamplesFollowEachOtherPromptByPrompt) {
  TestService t;
  const Json one = t.ok("/generate", R"({"text":"ab","sampling_params":{"n":3,"max_new_tokens":1}})");
  EXPECT_EQ(one.size(), 3U);
  const Json two = t.ok("/generate", R"({"text":["a","bcd"],"sampling_params":{"n":2,"max_new_tokens":1}})");
  ASSERT_EQ(two.size(), 4U);
  for (size_t i = 0; i < 4; ++i) EXPECT_EQ(two[i]["meta_info"]["prompt_tokens"], i < 2 ? 2 : 4) << i;
  EXPECT_NE(
      t.refusal("/generate", R"({"text":["a","b"],"sampling_params":[{"n":1},{"n":2}]})").find("n must be the same"),
      std::string::npos);
}

TEST(Generate, EverySamplingFieldArrives) {
  TestService t;
  t.ok("/generate", R"({"text":"a","sampling_params":{"max_new_tokens":7,"min_new_tokens":2,"stop":["x","y"],
      "stop_token_ids":[5,null],"no_stop_trim":true,"ignore_eos":true,"temperature":0.7,"top_p":0.9,"top_k":5,
      "min_p":0.1,"frequency_penalty":0.2,"presence_penalty":0.3,"repetition_penalty":1.1,"logit_bias":{"4":-2},
      "n":1,"skip_special_tokens":false,"spaces_between_special_tokens":false,"sampling_seed":11,"custom_params":{"a":1}}})");
  const SamplingParams s = t.engine->last().sampling;
  EXPECT_EQ(s.max_new_tokens, 7);
  EXPECT_EQ(s.min_new_tokens, 2);
  EXPECT_EQ(s.stop, (std::vector<std::string>{"x", "y"}));
  EXPECT_EQ(s.stop_token_ids, (std::vector<int32_t>{5}));
  EXPECT_TRUE(s.no_stop_trim && s.ignore_eos);
  EXPECT_FLOAT_EQ(s.temperature, 0.7F);
  EXPECT_FLOAT_EQ(s.top_p, 0.9F);
  EXPECT_EQ(s.top_k, 5);
  EXPECT_FLOAT_EQ(s.min_p, 0.1F);
  EXPECT_FLOAT_EQ(s.frequency_penalty, 0.2F);
  EXPECT_FLOAT_EQ(s.presence_penalty, 0.3F);
  EXPECT_FLOAT_EQ(s.repetition_penalty, 1.1F);
  EXPECT_EQ(s.logit_bias, (std::map<int32_t, float>{{4, -2.0F}}));
  EXPECT_FALSE(s.skip_special_tokens || s.spaces_between_special_tokens);
  EXPECT_EQ(s.seed, 11);
}

TEST(Generate, NullMeansTheDefaultAndForMaxNewTokensTheContextsEnd) {
  TestService t;
  t.ok("/generate",
       R"({"text":"a","sampling_params":{"max_new_tokens":null,"temperature":null,"stop":null,"n":null}})");
  EXPECT_EQ(t.engine->last().sampling.max_new_tokens, std::nullopt);
  EXPECT_EQ(t.engine->last().sampling.temperature, 1.0F) << "/generate does not take the model's own defaults";
  t.ok("/generate", R"({"text":"a","sampling_params":null,"rid":null,"stream":null,"return_logprob":null})");
}

TEST(Generate, WhatThePythonClientSendsIsAccepted) {
  TestService t;
  // gen
  t.ok("/generate", R"({"text":"a","sampling_params":{"skip_special_tokens":true,"spaces_between_special_tokens":true,
      "max_new_tokens":8,"min_new_tokens":0,"n":1,"stop":[],"stop_token_ids":[],"stop_regex":[],"temperature":1.0,
      "top_p":1.0,"top_k":-1,"min_p":0.0,"frequency_penalty":0.0,"presence_penalty":0.0,"ignore_eos":false,
      "regex":null,"json_schema":null},"image_data":[null],"video_data":[[null]],"lora_path":[null,null]})");
  // prefix cache, and the first step of select
  const Json prefix = t.ok("/generate", R"({"text":"abc","sampling_params":{"max_new_tokens":0}})");
  EXPECT_EQ(prefix["text"], "");
  EXPECT_EQ(prefix["meta_info"]["prompt_tokens"], 4);
  EXPECT_EQ(prefix["meta_info"]["finish_reason"], Json::parse(R"({"type":"length","length":0})"));
  // its second step
  const Json scores =
      t.ok("/generate", R"({"text":["abcX","abcY"],"sampling_params":{"max_new_tokens":0,"temperature":0},
      "return_logprob":true,"return_text_in_logprobs":true,"logprob_start_len":2})");
  ASSERT_EQ(scores.size(), 2U);
  EXPECT_EQ(scores[0]["meta_info"]["input_token_logprobs"],
            Json::parse(R"([[-0.25,98,"b"],[-0.25,99,"c"],[-0.25,88,"X"]])"));
  EXPECT_EQ(scores[0]["meta_info"]["output_token_logprobs"], Json::array());
  // its third
  const Json unconditional =
      t.ok("/generate", R"({"input_ids":[[1,2],[3]],"sampling_params":{"max_new_tokens":0},"return_logprob":true})");
  EXPECT_EQ(unconditional[0]["meta_info"]["input_token_logprobs"], Json::parse("[[null,1,null],[-0.25,2,null]]"));
}

TEST(Generate, LogProbabilitiesHaveTheirTupleShape) {
  TestService t;
  const Json answer = t.ok("/generate", R"({"text":"ab","sampling_params":{"max_new_tokens":2},"return_logprob":true,
      "logprob_start_len":0,"top_logprobs_num":2,"token_ids_logprob":[7,8]})");
  const Json& info = answer["meta_info"];
  EXPECT_EQ(info["input_token_logprobs"], Json::parse("[[null,256,null],[-0.25,97,null],[-0.25,98,null]]"));
  EXPECT_EQ(info["output_token_logprobs"], Json::parse("[[-0.25,72,null],[-0.25,101,null]]"));
  EXPECT_EQ(info["output_token_logprobs_length"], 2);
  EXPECT_EQ(info["input_top_logprobs"],
            Json::parse("[null,[[-0.25,97,null],[-1.25,98,null]],[[-0.25,98,null],[-1.25,99,null]]]"));
  EXPECT_EQ(info["output_top_logprobs"][0], Json::parse("[[-0.25,72,null],[-1.25,73,null]]"));
  EXPECT_EQ(info["output_token_ids_logprobs"][1], Json::parse("[[-2.0,7,null],[-2.0,8,null]]"));
  EXPECT_EQ(info["input_token_ids_logprobs"][0], nullptr);
  // Not asked for: not there. Without a start there is no input.
  const Json less =
      t.ok("/generate", R"({"text":"ab","sampling_params":{"max_new_tokens":2},"return_logprob":true})")["meta_info"];
  EXPECT_EQ(less["input_token_logprobs"], Json::array());
  EXPECT_FALSE(less.contains("output_top_logprobs") || less.contains("output_token_ids_logprobs"));
}

TEST(Generate, ListsGiveEachPromptItsOwnLogProbabilityFields) {
  TestService t;
  const Json answer = t.ok("/generate", R"({"text":["ab","cd"],"sampling_params":{"max_new_tokens":1},
      "return_logprob":[false,true],"top_logprobs_num":[0,1],"token_ids_logprob":[null,[9]],"logprob_start_len":[0,1]})");
  EXPECT_FALSE(answer[0]["meta_info"].contains("output_token_logprobs"));
  EXPECT_EQ(answer[1]["meta_info"]["input_token_logprobs"].size(), 2U);
  EXPECT_EQ(answer[1]["meta_info"]["output_top_logprobs"][0].size(), 1U);
  EXPECT_EQ(answer[1]["meta_info"]["output_token_ids_logprobs"][0][0][1], 9);
  EXPECT_NE(t.refusal("/generate", R"({"text":["a","b"],"return_logprob":[true]})")
                .find("has 1 entries, but there are 2 prompts"),
            std::string::npos);
}

TEST(Generate, PromptIdsComeWhereAskedFor) {
  TestService t;
  EXPECT_EQ(t.ok("/generate", R"({"text":"ab","return_prompt_token_ids":true})")["prompt_token_ids"],
            Json::parse("[256,97,98]"));
}

TEST(Generate, WithoutATokenizerThereIsNoText) {
  TestService t;
  t.engine->set_tokenizer(false);
  const Json answer = t.ok("/generate", R"({"input_ids":[1],"return_logprob":true,"return_text_in_logprobs":true})");
  EXPECT_FALSE(answer.contains("text"));
  EXPECT_EQ(answer["output_ids"].size(), 15U);
  EXPECT_EQ(answer["meta_info"]["output_token_logprobs"][0], Json::parse("[-0.25,72,null]"));
}

TEST(Generate, AStreamIsCumulative) {
  TestService t;
  const HttpResponse answer = t.post("/generate", R"({"text":"a","stream":true,"return_logprob":true})");
  EXPECT_EQ(answer.content_type, "text/event-stream");
  const auto events = json_events_of(answer.body);
  std::string before;
  for (const Json& e : events) {
    const std::string text = e["text"];
    EXPECT_TRUE(text.starts_with(before)) << text;
    EXPECT_EQ(e["output_ids"].size(), e["meta_info"]["completion_tokens"].get<size_t>());
    EXPECT_EQ(e["meta_info"]["output_token_logprobs"].size(), e["output_ids"].size());
    EXPECT_EQ(e["meta_info"]["finish_reason"].is_null(), &e != &events.back());
    EXPECT_EQ(e["meta_info"].contains("e2e_latency"), &e == &events.back());
    EXPECT_FALSE(e.contains("index"));
    before = text;
  }
  EXPECT_EQ(before, kReply);
}

TEST(Generate, IncrementalStreamsSendDeltas) {
  ServerOptions options;
  options.incremental_streaming_output = true;
  TestService t(options);
  std::string text;
  size_t ids = 0;
  for (const Json& e : json_events_of(t.post("/generate", R"({"text":"a","stream":true})").body)) {
    text += e["text"];
    ids += e["output_ids"].size();
  }
  EXPECT_EQ(text, kReply);
  EXPECT_EQ(ids, 15U);
  EXPECT_EQ(t.ok("/generate", R"({"text":"a"})")["text"], kReply) << "an answer that is not streamed stays whole";
}

TEST(Generate, PreferredSamplingParamsStandWhereARequestLeavesThemOpen) {
  ServerOptions options;
  options.preferred_sampling_params = R"({"temperature":0.25,"top_k":7})";
  TestService t(options);
  t.ok("/generate", R"({"text":"a"})");
  EXPECT_EQ(t.engine->last().sampling.temperature, 0.25F);
  EXPECT_EQ(t.engine->last().sampling.top_k, 7);
  t.ok("/generate", R"({"text":["a","b"],"sampling_params":[null,{"top_k":3,"min_p":0.5}]})");
  EXPECT_EQ(t.engine->last().sampling.temperature, 0.25F);
  EXPECT_EQ(t.engine->last().sampling.top_k, 3);
  EXPECT_EQ(t.engine->last().sampling.min_p, 0.5F);
  EXPECT_EQ(t.ok("/generate", R"({"text":"a","sampling_params":{"temperature":null}})").count("text"), 1U);
  EXPECT_EQ(t.engine->last().sampling.temperature, 1.0F) << "null is the default of the table";
  for (const char* bad : {"{", "[]", R"({"temperatur":1})", R"({"top_k":"x"})"}) {
    EXPECT_THROW(read_preferred_sampling(bad), Error) << bad;
  }
}

TEST(Generate, BatchedStreamsTellTheirEventsApart) {
  TestService t;
  std::map<int, std::string> texts;
  for (const Json& e :
       json_events_of(t.post("/generate", R"({"text":["a","b"],"stream":true,"sampling_params":{"n":2}})").body)) {
    texts[e["index"].get<int>()] = e["text"];
  }
  EXPECT_EQ(texts, (std::map<int, std::string>{{0, kReply}, {1, kReply}, {2, kReply}, {3, kReply}}));
}

TEST(Generate, AStreamIntervalMakesFewerEvents) {
  TestService t;
  t.engine->set_step_time(std::chrono::microseconds(2000));
  const auto events = json_events_of(
      t.post("/generate", R"({"text":"a","stream":true,"sampling_params":{"stream_interval":5,"max_new_tokens":14}})")
          .body);
  // The first token at once, then 6, 11 and the end, 14; a slow machine may send fewer.
  EXPECT_LE(events.size(), 4U);
  EXPECT_EQ(events.back()["text"], kReply);
}

TEST(Generate, WrongTypesAreAPlainErrorString) {
  TestService t;
  const auto body = [&](const std::string& request) { return Json::parse(t.post("/generate", request).body); };
  EXPECT_EQ(body(R"({"text":5})"),
            Json::parse(R"({"error":"text must be a string or an array of strings, got the number 5"})"));
  EXPECT_EQ(body(R"({"text":"a","sampling_params":{"temperature":"hot"}})"),
            Json::parse(R"({"error":"sampling_params.temperature must be a number, got the string \"hot\""})"));
  EXPECT_EQ(body(R"({"input_ids":"a"})")["error"], "input_ids must be an array of token ids, got the string \"a\"");
  EXPECT_EQ(body(R"({"input_ids":[1,null]})")["error"], "input_ids[1] must be a token id, got null");
  EXPECT_EQ(body(R"({"input_ids":[1,[2]]})")["error"], "input_ids[0] must be an array of token ids, got the number 1");
  EXPECT_EQ(body(R"({"text":["a",5]})")["error"],
            "text must be a string or an array of strings, got the number 5 in it");
  EXPECT_EQ(body("[]")["error"], "the request's body must be an object, got an array");
  EXPECT_EQ(body(R"({"text":"a","sampling_params":[]})")["error"].is_string(), false)
      << "a wrong number of entries is a value";
  const std::string unknown = body(R"({"text":"a","sampling_params":{"foo":1}})")["error"];
  EXPECT_TRUE(unknown.starts_with("unknown field \"foo\" in sampling_params, expected one of max_new_tokens, "))
      << unknown;
}

TEST(Generate, WrongValuesAreAnErrorObject) {
  TestService t;
  const auto message = [&](const std::string& request) {
    const HttpResponse answer = t.post("/generate", request);
    EXPECT_EQ(answer.status, 400) << answer.body;
    return Json::parse(answer.body)["error"]["message"].get<std::string>();
  };
  EXPECT_EQ(message(R"({"text":"a","sampling_params":{"temperature":-1}})"), "temperature must be a number ≥ 0")
      << "from the engine";
  EXPECT_EQ(message("{}"), "exactly one of text and input_ids must be given, got neither");
  EXPECT_EQ(message(R"({"text":"a","input_ids":[1]})"), "exactly one of text and input_ids must be given, got both");
  EXPECT_EQ(message(R"({"text":[]})"), "the list of prompts is empty; it must hold at least one");
  EXPECT_EQ(message(R"({"text":["a","b"],"rid":["x","x"]})"), "rid \"x\" is given twice");
  EXPECT_EQ(message(R"({"text":["a","b"],"rid":["x"]})"), "rid has 1 entries, but there are 2 prompts");
  const std::string rid(256, 'x');
  t.ok("/generate", R"({"text":["a","b"],"rid":")" + rid + "\"}");
  EXPECT_EQ(message(R"({"text":"a","rid":")" + rid + "x\"}"), "rid has 257 bytes; at most 256 are taken");
  EXPECT_EQ(message(R"({"text":"a","top_logprobs_num":-1})"), "top_logprobs_num must be at least 0, got -1");
  EXPECT_EQ(message(R"({"text":"a","sampling_params":{"n":0}})"), "n must be at least 1, got 0");
  EXPECT_EQ(message(R"({"text":"a","sampling_params":{"n":2000000000}})"),
            "a call may ask for 16384 samples, got 1 prompts with n = 2000000000");
  EXPECT_EQ(message(R"({"input_ids":[4294967296]})"), "input_ids must fit 32 bits, got 4294967296");
}

TEST(Generate, MalformedJsonIsTheFlatShape) {
  TestService t;
  const HttpResponse answer = t.post("/generate", "{\"text\":");
  EXPECT_EQ(answer.status, 400);
  const Json body = Json::parse(answer.body);
  EXPECT_EQ(body["object"], "error");
  EXPECT_EQ(body["type"], "Bad Request");
  EXPECT_EQ(body["code"], 400);
  EXPECT_EQ(body["param"], nullptr);
}

TEST(Generate, WhatIsNotSupportedYetIsNamed) {
  TestService t;
  for (const char* field :
       {R"("image_data":"aGk=")", R"("video_data":["x"])", R"("input_embeds":[[0.5]])", R"("lora_path":"x")",
        R"("return_hidden_states":true)", R"("custom_logit_processor":"x")", R"("sampling_params":{"beam_width":2})"}) {
    const std::string message = t.refusal("/generate", std::string(R"({"text":"a",)") + field + "}");
    EXPECT_NE(message.find("support"), std::string::npos) << field << ": " << message;
  }
  // What asks for nothing, and what only upstream knows, does no harm.
  t.ok("/generate",
       R"({"text":"a","regex":"","unheard_of":1,"priority":3,"log_metrics":true,"return_hidden_states":false,
      "sampling_params":{"regex":"","json_schema":null,"ebnf":"","stop_regex":[],"beam_width":1,"structural_tag":null}})");
}

TEST(Generate, GrammarsReachTheEngine) {
  TestService t;
  t.ok("/generate", R"({"text":"a","sampling_params":{"regex":"a+"}})");
  EXPECT_EQ(t.engine->last().sampling.regex, "a+");
  t.ok("/generate", R"({"text":"a","sampling_params":{"ebnf":"root ::= \"a\""}})");
  EXPECT_EQ(t.engine->last().sampling.ebnf, "root ::= \"a\"");
  t.ok("/generate", R"({"text":"a","sampling_params":{"json_schema":"{\"z\":1,\"a\":2}","structural_tag":""}})");
  EXPECT_EQ(t.engine->last().sampling.json_schema, R"({"z":1,"a":2})");
  EXPECT_EQ(t.engine->last().sampling.structural_tag, "");
  t.ok("/generate", R"({"text":"a","sampling_params":{"structural_tag":"{}"}})");
  EXPECT_EQ(t.engine->last().sampling.structural_tag, "{}");
}

TEST(Generate, RidsNameTheAnswersAndAbortByPrefix) {
  TestService t;
  EXPECT_EQ(t.ok("/generate", R"({"text":"a","rid":"mine"})")["meta_info"]["id"], "mine");
  EXPECT_TRUE(t.engine->last().rid.starts_with("mine")) << t.engine->last().rid;
  EXPECT_GT(t.engine->last().rid.size(), 4U) << "a disconnect must not abort other requests whose names begin alike";
  const Json batch = t.ok("/generate", R"({"text":["a","b"],"rid":"x"})");
  EXPECT_EQ(batch[0]["meta_info"]["id"], "x_0");
  EXPECT_EQ(batch[1]["meta_info"]["id"], "x_1");
  const Json named = t.ok("/generate", R"({"text":["a","b"],"rid":["p","q"]})");
  EXPECT_EQ(named[1]["meta_info"]["id"], "q");
}

TEST(Generate, NamespacesOfTheCacheAreKeptApart) {
  TestService t;
  const auto space = [&](const std::string& fields) {
    t.ok("/generate", R"({"text":"a","sampling_params":{"max_new_tokens":1})" + fields + "}");
    return t.engine->last().cache_namespace;
  };
  EXPECT_EQ(space(""), "");
  EXPECT_NE(space(R"(,"extra_key":"ab")"), "");
  EXPECT_NE(space(R"(,"extra_key":"ab")"), space(R"(,"extra_key":"a","cache_salt":"b")"));
}

TEST(Generate, AFullQueueIs503InTheFlatShape) {
  TestService t;
  t.engine->set_full(true);
  const HttpResponse answer = t.post("/generate", R"({"text":"a"})");
  EXPECT_EQ(answer.status, 503);
  EXPECT_EQ(
      Json::parse(answer.body),
      Json::parse(R"({"object":"error","message":"The request queue is full.","type":"503","param":null,"code":503})"));
}

TEST(Generate, ABatchWithOneBadPromptLeavesNothingRunning) {
  TestService t;
  t.engine->hold(true);
  EXPECT_EQ(t.post("/generate", R"({"input_ids":[[1],[]]})").status, 400);
  EXPECT_TRUE(t.engine->wait_running([](size_t n) { return n == 0; }));
}

TEST(Generate, AnEngineThatFailsGivesItsStatus) {
  TestService t;
  t.engine->hold(true);
  std::thread fail([&] {
    t.engine->wait_running([](size_t n) { return n == 2; });
    t.engine->fail_with(500, "out of memory");
  });
  const HttpResponse answer = t.post("/generate", R"({"text":["a","b"]})");
  fail.join();
  EXPECT_EQ(answer.status, 500);
  EXPECT_EQ(Json::parse(answer.body)["type"], "500");
  EXPECT_EQ(Json::parse(answer.body)["message"], "out of memory");
}

TEST(Generate, AnAbortByNameEndsTheAnswerWithItsReason) {
  TestService t;
  t.engine->hold(true);
  std::thread abort([&] {
    t.engine->wait_running([](size_t n) { return n == 1; });
    EXPECT_EQ(t.post("/abort_request", R"({"rid":"mi"})").status, 200);
  });
  const Json answer = t.ok("/generate", R"({"text":"a","rid":"mine"})");
  abort.join();
  EXPECT_EQ(answer["meta_info"]["finish_reason"],
            Json::parse(R"({"type":"abort","message":"aborted","status_code":499})"));
}

}  // namespace
}  // namespace sgl
