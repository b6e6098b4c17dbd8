#pragma once
// For the tests of programs: a deadline, a backend that is released by hand, shorthands.

#include <chrono>
#include <condition_variable>
#include <cstdlib>
#include <functional>
#include <future>
#include <iostream>
#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include <gtest/gtest.h>

#include "base/eventually.h"
#include "sgl/program.h"

namespace sgl {

/// Runs `body`; a test that hangs ends the program with a message instead.
inline void within_patience(const std::function<void()>& body) {
  std::promise<void> done;
  std::jthread watch([&, ended = done.get_future()]() mutable {
    if (ended.wait_for(kPatience) == std::future_status::timeout) {
      std::cerr << "this test did not end within " << kPatience.count() << " s" << std::endl;
      std::abort();
    }
  });
  try {
    body();
  } catch (...) {
    done.set_value();
    throw;
  }
  done.set_value();
}
using namespace std::chrono_literals;

inline std::shared_ptr<ScriptedBackend> scripted(std::vector<std::string> answers) {
  return std::make_shared<ScriptedBackend>(std::move(answers));
}
/// Answers by the variable's name.
inline std::shared_ptr<ScriptedBackend> by_name(std::map<std::string, std::string> answers) {
  return std::make_shared<ScriptedBackend>([answers = std::move(answers)](const GenerateCall& call) {
    const auto it = answers.find(call.variable);
    return it == answers.end() ? "?" : it->second;
  });
}

/// A door that a scripted answer waits at.
class Door {
 public:
  void open() {
    std::lock_guard lock(mutex_);
    open_ = true;
    changed_.notify_all();
  }
  void wait() {
    std::unique_lock lock(mutex_);
    changed_.wait(lock, [&] { return open_; });
  }

 private:
  std::mutex mutex_;
  std::condition_variable changed_;
  bool open_ = false;
};

/// Answers on another thread when the door is open.
inline std::shared_ptr<ScriptedBackend> behind(const std::shared_ptr<Door>& door, const std::string& answer) {
  auto backend = std::make_shared<ScriptedBackend>([door, answer](const GenerateCall&) {
    door->wait();
    return answer;
  });
  backend->set_latency(1us);
  return backend;
}

/// What `f` throws; fails the test if it throws nothing.
inline Error error_of(const std::function<void()>& f) {
  try {
    f();
  } catch (const Error& error) {
    return error;
  }
  ADD_FAILURE() << "expected an error";
  return {ErrorKind::Internal, ""};
}

inline bool contains(const std::string& text, const std::string& part) { return text.find(part) != std::string::npos; }

}  // namespace sgl
