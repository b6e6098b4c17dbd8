#include "server/sessions.h"

#include <algorithm>
#include <set>
#include <utility>

#include <fmt/format.h>

#include "server/service.h"

namespace sgl {
namespace {

[[noreturn]] void refuse(const std::string& message) { throw Error(ErrorKind::InvalidArgument, message); }

}  // namespace

std::optional<SessionTurn> read_session_turn(const Fields& fields) {
  const Json* given = fields.find("session_params");
  if (given == nullptr) return std::nullopt;
  const Fields f(*given, fields.name("session_params"));
  SessionTurn turn{.session = f.string("id").value_or("")};
  if (turn.session.empty()) refuse(fmt::format("{} is required: the id of an open session", f.name("id")));
  turn.behind = f.string("rid").value_or("");
  turn.offset = f.integer("offset").value_or(0);
  turn.replace = f.boolean("replace").value_or(false);
  turn.drop_previous_output = f.boolean("drop_previous_output").value_or(false);
  return turn;
}

std::string Sessions::open(const std::string& id) {
  check_length(id, "session_id");
  std::string opened = id.empty() ? random_hex(32) : id;
  std::lock_guard lock(mutex_);
  if (!sessions_.try_emplace(opened).second) refuse(fmt::format("session {} is open already", quote(opened)));
  use(opened);
  make_room();
  return opened;
}

void Sessions::close(const std::string& id) {
  std::lock_guard lock(mutex_);
  use(id);
  close_session(sessions_.find(id));
}

std::vector<int32_t> Sessions::prompt(const SessionTurn& turn, std::vector<int32_t> own, std::optional<int32_t> bos) {
  std::lock_guard lock(mutex_);
  Session& session = use(turn.session);
  if (turn.behind.empty()) return own;
  const auto found = std::find_if(session.requests.begin(), session.requests.end(),
                                  [&](const Ended& e) { return e.rid == turn.behind; });
  if (found == session.requests.end()) {
    refuse(fmt::format("session {} has no request {} that has ended", quote(turn.session), quote(turn.behind)));
  }
  std::vector<int32_t> prompt = found->prompt;
  if (!turn.drop_previous_output) prompt.insert(prompt.end(), found->output.begin(), found->output.end());
  const auto length = static_cast<int64_t>(prompt.size());
  if (turn.offset > 0) prompt.resize(static_cast<size_t>(std::min(turn.offset, length)));
  if (turn.offset < 0) prompt.resize(static_cast<size_t>(std::max(turn.offset + length, int64_t{0})));
  const bool begins = !prompt.empty() && !own.empty() && own.front() == bos;
  prompt.insert(prompt.end(), own.begin() + (begins ? 1 : 0), own.end());
  return prompt;
}

void Sessions::keep(const SessionTurn& turn, const std::string& rid, std::vector<int32_t> prompt,
                    std::vector<int32_t> output) {
  std::lock_guard lock(mutex_);
  const auto session = sessions_.find(turn.session);
  if (session == sessions_.end()) return;
  session->second.last_use = ++uses_;
  std::vector<Ended>& requests = session->second.requests;
  if (turn.replace) forget_behind(session->second, turn.behind);
  forget(session->second, [&](const Ended& e) { return e.rid == rid; });
  requests.push_back({.rid = rid, .behind = turn.behind, .prompt = std::move(prompt), .output = std::move(output)});
  tokens_ += requests.back().tokens();
  ++requests_;
  make_room();
}

Sessions::Session& Sessions::use(const std::string& id) {
  const auto session = sessions_.find(id);
  if (session == sessions_.end()) refuse(fmt::format("session {} is not open; /open_session opens one", quote(id)));
  session->second.last_use = ++uses_;
  return session->second;
}

template <typename Predicate>
void Sessions::forget(Session& session, Predicate predicate) {
  std::erase_if(session.requests, [&](const Ended& e) {
    const bool yes = predicate(e);
    if (yes) tokens_ -= e.tokens(), --requests_;
    return yes;
  });
}

void Sessions::forget_behind(Session& session, const std::string& rid) {
  std::set<std::string> forgotten{rid};
  forget(session, [&](const Ended& e) { return forgotten.contains(e.behind) && forgotten.insert(e.rid).second; });
}

void Sessions::make_room() {
  while (!sessions_.empty() &&
         (tokens_ > most_tokens_ || sessions_.size() > most_sessions_ || requests_ > kMostRequests)) {
    const auto oldest = std::min_element(sessions_.begin(), sessions_.end(), [](const auto& a, const auto& b) {
      return a.second.last_use < b.second.last_use;
    });
    close_session(oldest);
  }
}

void Sessions::close_session(std::map<std::string, Session>::iterator session) {
  forget(session->second, [](const Ended&) { return true; });
  sessions_.erase(session);
}

void SessionRequest::add(const Output& piece) {
  output_.resize(output_.size() - std::min(output_.size(), static_cast<size_t>(piece.replaces)));
  output_.insert(output_.end(), piece.token_ids.begin(), piece.token_ids.end());
  const FinishReason::Type end = piece.finish.type;
  if (end == FinishReason::Type::Stop || end == FinishReason::Type::Length) {
    sessions_->keep(turn_, rid_, std::move(prompt_), std::move(output_));
  }
}

}  // namespace sgl
