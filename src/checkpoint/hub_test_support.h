#pragma once
// For the tests of downloads: an HTTP server that misbehaves on demand, a hub and a package index on it, zip archives.

#include <atomic>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <functional>
#include <map>
#include <mutex>
#include <optional>
#include <random>
#include <sstream>
#include <string>
#include <thread>
#include <utility>
#include <vector>
#include <zlib.h>

// GCC's thread sanitizer does not know fences and says so. Asio's are redundant where its queues have locks.
#if defined(__SANITIZE_THREAD__) && !defined(BOOST_ASIO_DISABLE_FENCED_BLOCK)
#define BOOST_ASIO_DISABLE_FENCED_BLOCK
#endif

#include <boost/asio.hpp>
#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include "checkpoint/hub.h"
#include "checkpoint/hub_sha256.h"

namespace sgl::hub {

struct TestRequest {
  std::string method, target;
  std::map<std::string, std::string> headers;  ///< names in lower case
  std::string header(const std::string& name) const {
    auto it = headers.find(name);
    return it == headers.end() ? "" : it->second;
  }
};

struct TestReply {
  int status = 200;
  std::vector<std::pair<std::string, std::string>> headers;
  std::string body;
  std::optional<size_t> cut_after;  ///< send so many bytes of the body, then drop the connection
  bool announce_length = true;
};

/// An HTTP/1.1 server on a free port of the loopback address; a thread a connection, one request a connection.
class TestServer {
 public:
  using Handler = std::function<TestReply(const TestRequest&)>;

  /// `address`: of the loopback network.
  explicit TestServer(Handler handler, const std::string& address = "127.0.0.1")
      : handler_(std::move(handler)), address_(address), acceptor_(io_, {boost::asio::ip::make_address(address), 0}) {
    port_ = acceptor_.local_endpoint().port();
    thread_ = std::thread([this] { accept(); });
  }

  ~TestServer() {
    stopping_ = true;
    boost::system::error_code ignored;
    Socket(io_).connect({boost::asio::ip::make_address(address_), port_}, ignored);  // wakes accept()
    thread_.join();
    for (std::thread& t : connections_) t.join();
  }

  std::string url() const { return fmt::format("http://{}:{}", address_, port_); }

  std::vector<TestRequest> requests() const {
    std::lock_guard lock(mutex_);
    return requests_;
  }
  size_t count(const std::string& part_of_target) const {
    size_t n = 0;
    for (const TestRequest& r : requests()) n += r.target.find(part_of_target) != std::string::npos ? 1 : 0;
    return n;
  }

 private:
  using Socket = boost::asio::ip::tcp::socket;

  void accept() {
    while (true) {
      Socket socket(io_);
      boost::system::error_code error;
      acceptor_.accept(socket, error);
      if (stopping_ || error) return;
      connections_.emplace_back([this, s = std::move(socket)]() mutable { serve(std::move(s)); });
    }
  }

  void serve(Socket socket) {
    boost::system::error_code error;
    std::string text;
    boost::asio::read_until(socket, boost::asio::dynamic_buffer(text), "\r\n\r\n", error);
    if (error) return;
    std::istringstream in(text);
    TestRequest request;
    in >> request.method >> request.target;
    for (std::string line; std::getline(in, line);) {
      size_t colon = line.find(':');
      if (colon == std::string::npos) continue;
      std::string name = line.substr(0, colon);
      for (char& c : name) c = static_cast<char>(std::tolower(c));
      request.headers[name] = line.substr(colon + 2, line.size() - colon - 3);  // without ": " and "\r"
    }
    {
      std::lock_guard lock(mutex_);
      requests_.push_back(request);
    }
    TestReply reply = handler_(request);
    std::string out = fmt::format("HTTP/1.1 {} X\r\nConnection: close\r\n", reply.status);
    for (const auto& [name, value] : reply.headers) out += fmt::format("{}: {}\r\n", name, value);
    if (reply.announce_length) out += fmt::format("Content-Length: {}\r\n", reply.body.size());
    out += "\r\n" + reply.body.substr(0, reply.cut_after.value_or(reply.body.size()));
    boost::asio::write(socket, boost::asio::buffer(out), error);
    socket.shutdown(Socket::shutdown_send, error);
    // Closing with unread input would reset the connection and lose what was sent.
    std::string rest;
    boost::asio::read(socket, boost::asio::dynamic_buffer(rest), error);
  }

  Handler handler_;
  const std::string address_;
  boost::asio::io_context io_;
  boost::asio::ip::tcp::acceptor acceptor_;
  unsigned short port_ = 0;
  std::atomic<bool> stopping_{false};
  std::thread thread_;
  std::vector<std::thread> connections_;  // grown by thread_ only
  mutable std::mutex mutex_;
  std::vector<TestRequest> requests_;
};

/// A file as a good server gives it: whole, or the part that Range asks for if If-Range allows.
inline TestReply file_reply(const TestRequest& request, const std::string& content, const std::string& etag) {
  TestReply reply;
  if (!etag.empty()) reply.headers.emplace_back("ETag", etag);
  std::string range = request.header("range"), if_range = request.header("if-range");
  if (range.empty() || (!if_range.empty() && if_range != etag)) {
    reply.body = content;
    return reply;
  }
  size_t start = std::stoul(range.substr(6));
  if (start >= content.size()) {
    reply.status = 416;
    return reply;
  }
  reply.status = 206;
  reply.headers.emplace_back("Content-Range", fmt::format("bytes {}-{}/{}", start, content.size() - 1, content.size()));
  reply.body = content.substr(start);
  return reply;
}

inline std::string sha256_of(const std::string& text) {
  Sha256 sha;
  sha.update(std::as_bytes(std::span(text)));
  return sha.hex();
}

/// Bytes that do not compress and differ everywhere, so that a part at the wrong place is seen.
inline std::string random_bytes(size_t n, unsigned seed = 1) {
  std::mt19937 random(seed);
  std::string out(n, '\0');
  for (char& c : out) c = static_cast<char>(random());
  return out;
}

inline std::string read_text(const std::string& path) {
  std::ifstream in(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(in), {}};
}

inline void write_text(const std::filesystem::path& path, const std::string& text) {
  std::filesystem::create_directories(path.parent_path());
  std::ofstream(path, std::ios::binary) << text;
}

/// A folder that goes with the object.
class TemporaryFolder {
 public:
  TemporaryFolder()
      : path_(std::filesystem::temp_directory_path() / fmt::format("sgl_hub_{:08x}", std::random_device{}())) {
    std::filesystem::create_directories(path_);
  }
  ~TemporaryFolder() {
    std::error_code error;
    std::filesystem::remove_all(path_, error);
  }
  TemporaryFolder(const TemporaryFolder&) = delete;
  TemporaryFolder& operator=(const TemporaryFolder&) = delete;
  std::string operator/(const std::string& name) const { return (path_ / name).string(); }

 private:
  std::filesystem::path path_;
};

/// Options that see nothing but the folder and the server; a proxy in the environment does not come between.
inline HubOptions test_options(const TemporaryFolder& folder, const std::string& server) {
  setenv("no_proxy", "127.0.0.1", 1);
  HubOptions o;
  o.models_dir = folder / "models";
  o.hub_cache = folder / "hub";
  o.endpoint = server;
  o.pypi_index_url = server + "/simple";
  o.attempts = 3;
  o.retry_delay = std::chrono::milliseconds(1);
  o.stall_timeout = std::chrono::seconds(60);
  return o;
}

inline std::string little_endian(uint64_t value, int bytes) {
  std::string out;
  for (int i = 0; i < bytes; ++i) out += static_cast<char>(value >> (8 * i));
  return out;
}

inline std::string deflate_raw(const std::string& data) {
  z_stream z{};
  deflateInit2(&z, 6, Z_DEFLATED, -MAX_WBITS, 8, Z_DEFAULT_STRATEGY);
  std::string out(deflateBound(&z, data.size()) + 64, '\0');
  z.next_in = reinterpret_cast<Bytef*>(const_cast<char*>(data.data()));
  z.avail_in = static_cast<uInt>(data.size());
  z.next_out = reinterpret_cast<Bytef*>(out.data());
  z.avail_out = static_cast<uInt>(out.size());
  deflate(&z, Z_FINISH);
  out.resize(z.total_out);
  deflateEnd(&z);
  return out;
}

struct ZipMember {
  std::string name, data;
  int method = 8;
};

inline std::string make_zip(const std::vector<ZipMember>& members, const std::string& comment = "") {
  std::string out, directory;
  for (const ZipMember& m : members) {
    std::string packed = m.method == 8 ? deflate_raw(m.data) : m.data;
    uLong crc = crc32(0, reinterpret_cast<const Bytef*>(m.data.data()), static_cast<uInt>(m.data.size()));
    std::string common = little_endian(20, 2) + little_endian(0, 2) +
                         little_endian(static_cast<uint64_t>(m.method), 2) + little_endian(0, 4) +
                         little_endian(crc, 4) + little_endian(packed.size(), 4) + little_endian(m.data.size(), 4) +
                         little_endian(m.name.size(), 2) + little_endian(0, 2);
    directory += little_endian(0x02014b50, 4) + little_endian(20, 2) + common + std::string(10, '\0') +
                 little_endian(out.size(), 4) + m.name;
    out += little_endian(0x04034b50, 4) + common + m.name + packed;
  }
  std::string end = little_endian(0x06054b50, 4) + little_endian(0, 4) + little_endian(members.size(), 2) +
                    little_endian(members.size(), 2) + little_endian(directory.size(), 4) +
                    little_endian(out.size(), 4) + little_endian(comment.size(), 2) + comment;
  return out + directory + end;
}

/// A hub with one repository. Its fields may be changed between requests, not during one.
struct FakeHub {
  std::string repo = "org/model";
  std::string commit = std::string(40, 'a');
  std::map<std::string, std::string> files;
  bool give_hashes = true;
  std::string required_token;
  std::function<std::optional<TestReply>(const TestRequest&)> intercept;  ///< goes first

  nlohmann::json listing() const {
    nlohmann::json siblings = nlohmann::json::array();
    for (const auto& [name, content] : files) {
      nlohmann::json f = {{"rfilename", name}};
      if (give_hashes) {
        f["size"] = content.size();
        f["blobId"] = sha256_of(name + content).substr(0, 40);
        if (content.size() > 1000)
          f["lfs"] = {{"sha256", sha256_of(content)}, {"size", content.size()}, {"pointerSize", 100}};
      }
      siblings.push_back(f);
    }
    return {{"id", repo}, {"sha", commit}, {"siblings", siblings}};
  }

  TestReply operator()(const TestRequest& request) const {
    if (intercept) {
      if (std::optional<TestReply> reply = intercept(request)) return *reply;
    }
    if (!required_token.empty() && request.header("authorization") != "Bearer " + required_token) {
      return {.status = 401, .headers = {{"X-Error-Code", "RepoNotFound"}}, .body = "{}", .cut_after = {}};
    }
    std::string api = "/api/models/" + repo + "/revision/";
    std::string resolve = "/" + repo + "/resolve/" + commit + "/";
    if (request.target.starts_with(api)) return {.headers = {}, .body = listing().dump(), .cut_after = {}};
    if (request.target.starts_with(resolve)) {
      auto it = files.find(request.target.substr(resolve.size()));
      if (it != files.end()) return file_reply(request, it->second, "\"" + sha256_of(it->second).substr(0, 16) + "\"");
    }
    return {.status = 404, .headers = {}, .body = "{\"error\":\"not found\"}", .cut_after = {}};
  }
};

}  // namespace sgl::hub
