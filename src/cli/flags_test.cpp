#include "cli/flags.h"

#include <algorithm>
#include <chrono>
#include <filesystem>
#include <fstream>
#include <string>
#include <vector>

#include <gtest/gtest.h>

#include "cli/serve_flags.h"
#include "cli/test_world.h"

namespace sgl::cli {
namespace {

using Words = std::vector<std::string>;

/// What `sgl serve` makes of these flags.
ServerOptions serve_options(const Words& flags) {
  TestWorld w;
  Words arguments = {"serve"};
  arguments.insert(arguments.end(), flags.begin(), flags.end());
  EXPECT_EQ(w.run(arguments), 0) << w.err.str();
  return w.served.value_or(ServerOptions{});
}

/// The message of the usage error that these flags are; checks status 2 and that it is one line.
std::string usage_error(const Words& flags, const std::string& command = "serve") {
  TestWorld w;
  w.world.in_is_terminal = true;
  Words arguments = {command};
  arguments.insert(arguments.end(), flags.begin(), flags.end());
  EXPECT_EQ(w.run(arguments), 2);
  std::string message = w.err.str();
  EXPECT_TRUE(message.starts_with("sgl: ")) << message;
  EXPECT_EQ(std::count(message.begin(), message.end(), '\n'), 1) << message;
  EXPECT_FALSE(w.served || w.loaded);
  return message;
}

bool has(const std::string& text, const std::string& part) { return text.find(part) != std::string::npos; }

TEST(Flags, EveryServeFlagLandsInItsField) {
  ServerOptions o =
      serve_options({"--model-path", "org/m", "--tokenizer-path", "/tok", "--skip-tokenizer-init", "--load-format",
                     "dummy", "--revision", "dev", "--served-model-name", "name", "--chat-template", "t.jinja",
                     "--context-length", "1024", "--allow-auto-truncate", "--json-model-override-args", "{\"a\": 1}"});
  EXPECT_EQ(o.engine.model_path, "org/m");
  EXPECT_EQ(o.engine.tokenizer_path, "/tok");
  EXPECT_TRUE(o.engine.skip_tokenizer_init);
  EXPECT_EQ(o.engine.load_format, "dummy");
  EXPECT_EQ(o.engine.revision, "dev");
  EXPECT_EQ(o.engine.served_model_name, "name");
  EXPECT_EQ(o.engine.chat_template, "t.jinja");
  EXPECT_EQ(o.engine.context_length, 1024);
  EXPECT_TRUE(o.engine.allow_auto_truncate);
  EXPECT_EQ(o.engine.json_model_override_args, "{\"a\": 1}");

  o = serve_options({"--host",
                     "0.0.0.0",
                     "--port",
                     "8080",
                     "--api-key",
                     "secret",
                     "--stream-interval",
                     "4",
                     "--incremental-streaming-output",
                     "--skip-server-warmup",
                     "--tokenizer-worker-num",
                     "3",
                     "--log-level",
                     "debug",
                     "--decode-log-interval",
                     "7",
                     "--sampling-defaults",
                     "openai",
                     "--preferred-sampling-params",
                     "{}"});
  EXPECT_EQ(o.http.host, "0.0.0.0");
  EXPECT_EQ(o.http.port, 8080);
  EXPECT_EQ(o.keys.api_key, "secret");
  EXPECT_EQ(o.stream_interval, 4);
  EXPECT_TRUE(o.incremental_streaming_output);
  EXPECT_TRUE(o.skip_server_warmup);
  EXPECT_EQ(o.workers, 3);
  EXPECT_EQ(o.log_level, "debug");
  EXPECT_EQ(o.engine.decode_log_interval, 7);
  EXPECT_EQ(o.sampling_defaults, "openai");
  EXPECT_EQ(o.preferred_sampling_params, "{}");

  o = serve_options({"--device",
                     "ref",
                     "--dtype",
                     "float32",
                     "--kv-cache-dtype",
                     "bf16",
                     "--quantization",
                     "int4",
                     "--tensor-parallel-size",
                     "2",
                     "--enable-deterministic-inference",
                     "--threads",
                     "2",
                     "--numa",
                     "local",
                     "--random-seed",
                     "42",
                     "--max-total-tokens",
                     "5000000000",
                     "--mem-fraction-static",
                     "0.5",
                     "--page-size",
                     "32",
                     "--max-running-requests",
                     "9",
                     "--max-queued-requests",
                     "10",
                     "--max-ttft",
                     "2.5",
                     "--chunked-prefill-size",
                     "-1",
                     "--max-prefill-tokens",
                     "11",
                     "--schedule-policy",
                     "dfs-weight",
                     "--schedule-conservativeness",
                     "1.5",
                     "--disable-radix-cache"});
  EXPECT_EQ(o.engine.device, "ref");
  EXPECT_EQ(o.engine.dtype, "float32");
  EXPECT_EQ(o.engine.kv_cache_dtype, "bf16");
  EXPECT_EQ(o.engine.quantization, "int4");
  EXPECT_EQ(o.engine.tp_size, 2);
  EXPECT_TRUE(o.engine.deterministic);
  EXPECT_EQ(o.engine.threads, 2);
  EXPECT_EQ(o.engine.numa, "local");
  EXPECT_EQ(o.engine.random_seed, 42);
  EXPECT_EQ(o.engine.max_total_tokens, 5'000'000'000);
  EXPECT_DOUBLE_EQ(o.engine.mem_fraction_static, 0.5);
  EXPECT_EQ(o.engine.page_size, 32);
  EXPECT_EQ(o.engine.max_running_requests, 9);
  EXPECT_EQ(o.engine.max_queued_requests, 10);
  EXPECT_DOUBLE_EQ(o.engine.max_ttft_s, 2.5);
  EXPECT_EQ(o.engine.chunked_prefill_size, -1);
  EXPECT_EQ(o.engine.max_prefill_tokens, 11);
  EXPECT_EQ(o.engine.schedule_policy, "dfs-weight");
  EXPECT_DOUBLE_EQ(o.engine.schedule_conservativeness, 1.5);
  EXPECT_TRUE(o.engine.disable_radix_cache);
}

TEST(Flags, WithoutFlagsTheDefaultsOfTheOptionsStand) {
  ServerOptions o = serve_options({}), expected;
  EXPECT_EQ(o.engine.model_path, "");
  EXPECT_EQ(o.engine.device, expected.engine.device);
  EXPECT_EQ(o.engine.schedule_policy, expected.engine.schedule_policy);
  EXPECT_EQ(o.http.port, expected.http.port);
  EXPECT_EQ(o.log_level, "info");
}

TEST(Flags, AUniquePrefixOrAnEqualsSignWillDo) {
  EXPECT_EQ(serve_options({"--model", "m"}).engine.model_path, "m");
  EXPECT_EQ(serve_options({"--model-pa=m"}).engine.model_path, "m");
  EXPECT_EQ(serve_options({"--po=1234"}).http.port, 1234);
  EXPECT_TRUE(serve_options({"--skip-t"}).engine.skip_tokenizer_init);
  EXPECT_EQ(serve_options({"--revision="}).engine.revision, "");
  EXPECT_EQ(serve_options({"--api-key", "--odd"}).keys.api_key, "--odd");
  EXPECT_EQ(serve_options({"--port", "1", "--port=2"}).http.port, 2);
  EXPECT_EQ(serve_options({"--device", "auto"}).engine.device, "cpu");
}

TEST(Flags, AnAmbiguousPrefixListsTheFlags) {
  std::string message = usage_error({"--skip", "x"});
  EXPECT_TRUE(has(message, "ambiguous") && has(message, "--skip-tokenizer-init") &&
              has(message, "--skip-server-warmup"))
      << message;
}

TEST(Flags, AnUnknownFlagNamesTheNearest) {
  EXPECT_TRUE(has(usage_error({"--modle-path", "x"}), "did you mean --model-path?"));
  EXPECT_TRUE(has(usage_error({"--prot", "1"}), "did you mean --port?"));
  EXPECT_TRUE(has(usage_error({"--xyzzyxyzzy"}), "unknown flag --xyzzyxyzzy;"));
  EXPECT_TRUE(has(usage_error({"-x"}), "unknown flag -x"));
}

TEST(Flags, FlagsThatAreNotSupportedYetSaySo) {
  for (const Words& flags : {Words{"--dp", "2"}, Words{"--dp-size=2"}, Words{"--lora-paths", "x"},
                             Words{"--enable-lora"}, Words{"--speculative-algorithm", "EAGLE"}}) {
    EXPECT_TRUE(has(usage_error(flags), "not supported yet")) << flags[0];
  }
  EXPECT_TRUE(has(usage_error({"--dp", "2"}), "--dp-size 2"));
}

TEST(Flags, ParsersAreNamedAsSglangNamesThem) {
  EXPECT_EQ(serve_options({"--tool-call-parser", "qwen25"}).tool_call_parser, "qwen25");
  EXPECT_EQ(serve_options({"--reasoning-parser", "qwen3"}).reasoning_parser, "qwen3");
  EXPECT_EQ(serve_options({"--reasoning-parser", "<a>,</a>"}).reasoning_parser, "<a>,</a>");
  EXPECT_TRUE(has(usage_error({"--tool-call-parser", "qwen3"}), "one of auto, hermes"));
  EXPECT_TRUE(has(usage_error({"--reasoning-parser", "hermes"}), "one of deepseek-r1"));
}

TEST(Flags, FlagsThatAskForWhatIsDoneAnywayAreAccepted) {
  ServerOptions o = serve_options({"--pp", "1", "--trust-remote-code", "--disable-cuda-graph", "--port", "5",
                                   "--radix-eviction-policy=lru", "--dp-size", "1"});
  EXPECT_EQ(o.http.port, 5);
}

TEST(Flags, ValuesThatDoNotFitSayWhatWasExpected) {
  EXPECT_TRUE(has(usage_error({"--port", "abc"}), "--port: expected an integer in [0, 65535], got 'abc'"));
  EXPECT_TRUE(has(usage_error({"--port", "65536"}), "65536"));
  EXPECT_TRUE(has(usage_error({"--port", "1x"}), "'1x'"));
  EXPECT_TRUE(has(usage_error({"--port"}), "--port needs a value"));
  EXPECT_TRUE(has(usage_error({"--mem-fraction-static", "1.5"}), "a number in [0, 1]"));
  EXPECT_TRUE(has(usage_error({"--mem-fraction-static", "nan"}), "nan"));
  EXPECT_TRUE(has(usage_error({"--schedule-policy", "best"}), "one of lpm, fcfs, dfs-weight, lof, random"));
  EXPECT_TRUE(has(usage_error({"--device", "tpu"}), "one of auto, cpu, cuda, ref"));
  EXPECT_TRUE(has(usage_error({"--disable-radix-cache=1"}), "takes no value"));
  EXPECT_TRUE(has(usage_error({"stray"}), "unexpected argument 'stray'"));
  EXPECT_TRUE(has(usage_error({"--", "--port"}), "unexpected argument '--port'"));
}

TEST(Flags, SamplingFlagsAreCheckedAtOnce) {
  EXPECT_TRUE(has(usage_error({"x", "--temperature", "-1"}, "generate"), "--temperature"));
  EXPECT_TRUE(has(usage_error({"x", "--top-p", "0"}, "generate"), "--top-p: expected a number in (0, 1], got '0'"));
  EXPECT_TRUE(has(usage_error({"x", "--top-k", "0"}, "generate"), "--top-k"));
  EXPECT_TRUE(has(usage_error({"x", "--n", "0"}, "generate"), "--n"));
}

TEST(Flags, HelpFitsTheScreenAndNamesEveryFlag) {
  for (const char* command : {"serve", "generate", "chat"}) {
    for (int columns : {80, 110}) {
      TestWorld w;
      w.world.columns = columns;
      EXPECT_EQ(w.run({command, "--port", "--help"}), 0);
      EXPECT_FALSE(w.served || w.loaded);
      std::istringstream lines(w.out.str());
      for (std::string line; std::getline(lines, line);) EXPECT_LE(line.size(), static_cast<size_t>(columns)) << line;
      for (const char* part : {"usage: sgl ", "Model:\n", "--model-path, --model MODEL", "--threads N",
                               "--schedule-policy", "-h, --help"}) {
        EXPECT_TRUE(has(w.out.str(), part)) << command << " lacks " << part << "\n" << w.out.str();
      }
    }
  }
}

TEST(Flags, ForeignFlagsAreSortedAndNotOurs) {
  const auto& foreign = foreign_flags();
  EXPECT_TRUE(std::is_sorted(foreign.begin(), foreign.end(),
                             [](const ForeignFlag& a, const ForeignFlag& b) { return std::string(a.name) < b.name; }));
  TestWorld w;
  w.run({"serve", "--help"});
  for (const ForeignFlag& f : foreign) EXPECT_FALSE(has(w.out.str(), std::string(f.name) + " ")) << f.name;
}

TEST(Flags, NearestIsNearOrNothing) {
  EXPECT_EQ(nearest("--modle", {"--model", "--port"}), "--model");
  EXPECT_EQ(nearest("--zzzzzz", {"--model", "--port"}), "");
  EXPECT_EQ(nearest("", {}), "");
}

TEST(Run, KnowsItsCommands) {
  TestWorld w;
  EXPECT_EQ(w.run({"--version"}), 0);
  EXPECT_EQ(w.out.str(), "sgl " SGL_VERSION "\n");
  TestWorld help;
  EXPECT_EQ(help.run({"--help"}), 0);
  for (const char* part : {"serve", "generate", "chat"}) EXPECT_TRUE(has(help.out.str(), part));
  TestWorld of_command;
  EXPECT_EQ(of_command.run({"help", "serve"}), 0);
  EXPECT_TRUE(has(of_command.out.str(), "usage: sgl serve"));
  TestWorld none;
  EXPECT_EQ(none.run({}), 2);
  TestWorld wrong;
  EXPECT_EQ(wrong.run({"sreve"}), 2);
  EXPECT_TRUE(has(wrong.err.str(), "did you mean serve?")) << wrong.err.str();
}

TEST(Run, FailuresAreOneLineAndStatusOne) {
  TestWorld w;
  w.world.serve = [](const ServerOptions&) -> int { throw Error(ErrorKind::Unavailable, "port 1 is\ntaken"); };
  EXPECT_EQ(w.run({"serve"}), 1);
  EXPECT_EQ(w.err.str(), "sgl: port 1 is taken\n");
  w.world.serve = [](const ServerOptions&) -> int { throw std::bad_alloc(); };
  EXPECT_EQ(w.run({"serve"}), 1);
  w.world.serve = [](const ServerOptions&) { return 7; };
  EXPECT_EQ(w.run({"serve"}), 7);
}

// A file that goes with the object.
struct ConfigFile {
  explicit ConfigFile(const std::string& text)
      : path((std::filesystem::temp_directory_path() / "sgl_flags_test.yaml").string()) {
    std::ofstream(path) << text;
  }
  ~ConfigFile() { std::filesystem::remove(path); }
  const std::string path;
};

TEST(Config, AFilesFlagsCountWhereTheCommandLineHasNone) {
  const ConfigFile file(
      "# comments are fine\nmodel-path: org/m\nport: 8080\nmax_running_requests: 7\nenable-metrics: true\n"
      "log-requests: false\napi-key: '007'\nsampling-defaults: openai\n");
  ServerOptions o = serve_options({"--config", file.path});
  EXPECT_EQ(o.engine.model_path, "org/m");
  EXPECT_EQ(o.http.port, 8080);
  EXPECT_EQ(o.engine.max_running_requests, 7);
  EXPECT_TRUE(o.enable_metrics);
  EXPECT_FALSE(o.log_requests);
  EXPECT_EQ(o.keys.api_key, "007");
  for (const Words& words : {Words{"--port", "9", "--config", file.path}, Words{"--config=" + file.path, "--port=9"}}) {
    o = serve_options(words);
    EXPECT_EQ(o.http.port, 9);
    EXPECT_EQ(o.engine.model_path, "org/m");
  }
}

TEST(Config, AMistakeNamesTheFileAndTheFlag) {
  const auto error = [](const std::string& text) {
    const ConfigFile file(text);
    std::string message = usage_error({"--config", file.path});
    EXPECT_TRUE(has(message, file.path)) << message;
    return message;
  };
  EXPECT_TRUE(has(error("prot: 5\n"), "--prot, did you mean --port?"));
  EXPECT_TRUE(has(error("a: 1\nport: [1\n"), ":")) << "a line";
  EXPECT_TRUE(has(error("- port\n"), "mapping"));
  EXPECT_TRUE(has(error("port:\n  a: 1\n"), ":2: --port"));
  EXPECT_TRUE(has(error("enable-metrics: 5\n"), "takes no value"));
  EXPECT_TRUE(has(error("port: true\n"), "--port needs a value"));
  EXPECT_TRUE(has(error("a: 1\nrevision:\n"), ":2: --revision has no value"));
  EXPECT_TRUE(has(error("port: 1\nport: 2\n"), ":2: --port is given twice"));
  EXPECT_TRUE(has(error("port: [1, 2]\n"), "--port has several values, and takes one"));
  EXPECT_TRUE(has(error("model: a\nmodel-path: b\n"), "has several values, and takes one"));
  const ConfigFile open("api-key: ''\n");
  EXPECT_TRUE(has(usage_error({"--config", open.path}), "--api-key is empty"));
  for (const char* flag : {"--api-key", "--admin-api-key", "--api-key-file", "--admin-api-key-file"}) {
    EXPECT_TRUE(has(usage_error({flag, ""}), std::string(flag) + " is empty"));
  }
  EXPECT_TRUE(has(error("config: other.yaml\n"), "another"));
  EXPECT_TRUE(has(usage_error({"--config", "/no/such.yaml"}), "/no/such.yaml"));
  EXPECT_EQ(serve_options({"--api-key", "--config"}).keys.api_key, "--config") << "a value, not the flag";
}

TEST(Flags, OperatorsFlagsLandInTheirFields) {
  const ServerOptions o = serve_options({"--admin-api-key",
                                         "a",
                                         "--api-key-file",
                                         "k.txt",
                                         "--admin-api-key-file",
                                         "a.txt",
                                         "--ssl-certfile",
                                         "c.pem",
                                         "--ssl-keyfile",
                                         "k.pem",
                                         "--ssl-keyfile-password",
                                         "word",
                                         "--cors-allow-origins",
                                         "",
                                         "--max-connections",
                                         "100",
                                         "--max-body-bytes",
                                         "1000",
                                         "--max-header-bytes",
                                         "2000",
                                         "--max-url-bytes",
                                         "300",
                                         "--max-unsent-bytes",
                                         "5000",
                                         "--idle-timeout",
                                         "1",
                                         "--header-timeout",
                                         "2",
                                         "--body-timeout",
                                         "3",
                                         "--write-timeout",
                                         "4",
                                         "--request-timeout",
                                         "1.5",
                                         "--drain-timeout",
                                         "-1",
                                         "--log-format",
                                         "json",
                                         "--log-level-http",
                                         "info",
                                         "--log-requests",
                                         "--log-requests-level",
                                         "3",
                                         "--enable-metrics",
                                         "--enable-priority-scheduling",
                                         "--priority-scheduling-preemption-threshold",
                                         "5"});
  EXPECT_EQ(o.keys.admin_api_key, "a");
  EXPECT_EQ(o.keys.api_key_file, "k.txt");
  EXPECT_EQ(o.keys.admin_api_key_file, "a.txt");
  EXPECT_EQ(o.http.tls.certificate_file, "c.pem");
  EXPECT_EQ(o.http.tls.key_file, "k.pem");
  EXPECT_EQ(o.http.tls.key_password, "word");
  EXPECT_EQ(o.cors_allow_origins, "");
  EXPECT_EQ(o.http.max_connections, 100U);
  EXPECT_EQ(o.http.max_body_bytes, 1000U);
  EXPECT_EQ(o.http.max_header_bytes, 2000U);
  EXPECT_EQ(o.http.max_url_bytes, 300U);
  EXPECT_EQ(o.http.max_unsent_bytes, 5000U);
  EXPECT_EQ(o.http.idle_timeout, std::chrono::seconds(1));
  EXPECT_EQ(o.http.header_timeout, std::chrono::seconds(2));
  EXPECT_EQ(o.http.body_timeout, std::chrono::seconds(3));
  EXPECT_EQ(o.http.write_timeout, std::chrono::seconds(4));
  EXPECT_EQ(o.request_timeout_s, 1.5);
  EXPECT_EQ(o.drain_timeout_s, -1);
  EXPECT_EQ(o.log_format, "json");
  EXPECT_EQ(o.log_level_http, "info");
  EXPECT_TRUE(o.log_requests);
  EXPECT_EQ(o.log_requests_level, 3);
  EXPECT_TRUE(o.enable_metrics);
  EXPECT_TRUE(o.engine.enable_priority_scheduling);
  EXPECT_EQ(o.engine.priority_scheduling_preemption_threshold, 5);
}

}  // namespace
}  // namespace sgl::cli
