#pragma once
// Conversations whose tokens the server keeps, so that a turn sends only what is new: /open_session, /close_session,
// and the field session_params of /generate.
//
// A session is a tree of requests that have ended. A request names the one that it goes on behind; its prompt is that
// one's prompt and output, and its own tokens. Nothing is held of the KV cache: the prefix cache has it, as for any
// prompt that begins alike.

#include <cstddef>
#include <cstdint>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "server/json_reader.h"
#include "sgl/request.h"

namespace sgl {

/// What a request says of its session: SGLang's session_params.
struct SessionTurn {
  std::string session;   ///< its id
  std::string behind{};  ///< the request to go on behind, by its rid; empty: none
  int64_t offset = 0;    ///< not 0: behind its first `offset` tokens only; negative: without its last ones
  /// When this one has ended, forget the requests that went on behind `behind`; without one, all requests.
  bool replace = false;
  bool drop_previous_output = false;  ///< go on behind the prompt of `behind`
};

/// The field session_params; nullopt if there is none. Throws ValidationError, or InvalidArgument without an id.
std::optional<SessionTurn> read_session_turn(const Fields& fields);

/// Thread: every function may be called from any thread.
class Sessions {
 public:
  static constexpr size_t kMostTokens = size_t{1} << 26;  ///< 256 MiB
  static constexpr size_t kMostSessions = 65536, kMostRequests = 262144;

  /// Beyond so many tokens, sessions, or kMostRequests requests, the session that was used longest ago is closed.
  explicit Sessions(size_t most_tokens = kMostTokens, size_t most_sessions = kMostSessions)
      : most_tokens_(most_tokens), most_sessions_(most_sessions) {}

  /// Opens a session and returns its id: `id`, or a random one if it is empty. Throws InvalidArgument if it is taken or
  /// longer than kLongestId.
  std::string open(const std::string& id);
  /// Throws InvalidArgument if no session of that id is open.
  void close(const std::string& id);

  /// The whole prompt of a request whose own tokens are `own`. `bos`: the token that begins a text, which is dropped
  /// from the beginning of `own` where something stands before it. Throws InvalidArgument if the session is not open or
  /// the request that the turn names has not ended in it.
  std::vector<int32_t> prompt(const SessionTurn& turn, std::vector<int32_t> own, std::optional<int32_t> bos);
  /// A request has ended: others may go on behind it. One of the same rid is forgotten, and, with `replace`, those that
  /// it replaces. A session that was closed meanwhile keeps nothing.
  void keep(const SessionTurn& turn, const std::string& rid, std::vector<int32_t> prompt, std::vector<int32_t> output);

 private:
  struct Ended {
    std::string rid, behind;
    std::vector<int32_t> prompt, output;
    size_t tokens() const { return prompt.size() + output.size(); }
  };
  struct Session {
    uint64_t last_use = 0;
    std::vector<Ended> requests;  ///< in the order in which they ended: behind those that they go on behind
  };

  /// Finds an open session, which counts as a use of it. Throws InvalidArgument.
  Session& use(const std::string& id);
  void close_session(std::map<std::string, Session>::iterator session);
  /// Forgets the requests that say yes.
  template <typename Predicate>
  void forget(Session& session, Predicate predicate);
  void forget_behind(Session& session, const std::string& rid);
  void make_room();

  const size_t most_tokens_, most_sessions_;
  std::mutex mutex_;
  std::map<std::string, Session> sessions_;
  uint64_t uses_ = 0;
  size_t tokens_ = 0, requests_ = 0;  ///< of all sessions
};

/// A request of a session while it runs: follows its pieces, and keeps it when it has ended. One that is aborted, or
/// whose client leaves, is not kept. One thread at a time.
class SessionRequest {
 public:
  SessionRequest(std::shared_ptr<Sessions> sessions, SessionTurn turn, std::string rid, std::vector<int32_t> prompt)
      : sessions_(std::move(sessions)), turn_(std::move(turn)), rid_(std::move(rid)), prompt_(std::move(prompt)) {}
  /// Takes the request's next piece.
  void add(const Output& piece);

 private:
  std::shared_ptr<Sessions> sessions_;
  SessionTurn turn_;
  std::string rid_;
  std::vector<int32_t> prompt_, output_;
};

}  // namespace sgl
