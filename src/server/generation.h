#pragma once
// One call of a route that works on the model, from the parsed body to the last byte of its answer.
//
//   scheduler's thread       worker                     I/O thread
//   on_piece: mailbox  ──►   drain: Reply words it  ──► Responder writes it
//
// The scheduler's thread only appends to a mailbox; at most one worker empties it. What piles up meanwhile goes out in
// one write. When the client stops reading, pieces stay in the mailbox until it has read what was written; when they
// become too many the client is dropped.

#include <cstddef>
#include <memory>
#include <string>
#include <vector>

#include "server/error_body.h"
#include "server/http.h"
#include "server/service.h"
#include "sgl/request.h"

namespace sgl {

/// Words the results of a call in one dialect, as one body or as events. One thread at a time.
class Reply {
 public:
  virtual ~Reply() = default;
  /// Takes a piece of sample `sample` of request `request` of the call. Pieces of one sample come in order.
  virtual void add(size_t request, Output&& piece) = 0;
  /// Stream: appends the events ("data: …\n\n") for what was added since the last call.
  virtual void take_events(std::string& out) = 0;
  /// Stream: appends what comes after the last piece and before [DONE].
  virtual void take_closing_events(std::string& out) { static_cast<void>(out); }
  /// Not a stream: the body, when all samples have ended.
  virtual std::string body() = 0;
};

/// A body turned into work for the engine.
struct Call {
  std::vector<Request> requests;  ///< their rids are set and unique
  bool stream = false;
  bool merge_pieces = false;  ///< stream: one event may stand for several tokens if they are ready at once
  int stream_interval = 1;    ///< stream: after the first, an event only when that many tokens are unsent
  bool abort_fails = false;   ///< a request that was aborted fails the call: the answer has no place to say so
  std::unique_ptr<Reply> reply;
  Dialect dialect = Dialect::Native;
};

/// Submits the requests and answers through `responder`. When the client goes, the requests are aborted; so they are,
/// with 504 for an answer, when they take longer than --request-timeout or the header X-Request-Timeout (seconds)
/// allow. Requests whose grammar has to be compiled go to the workers' lane for that, and are answered with what is
/// thrown there. Throws what Engine::submit throws; nothing is left running then and nothing has been answered.
void start_generation(Service& service, const HttpRequest& request, Call call,
                      const std::shared_ptr<Responder>& responder);

/// A request's name for the engine, from what the client calls it (empty: nothing). Engine::abort matches by prefix, so
/// the abort of a client's own name ends the request, and when a client goes, nobody else's request named alike ends.
std::string engine_rid(const std::string& client_rid);

}  // namespace sgl
