#include "checkpoint/hub_repo.h"

#include <algorithm>
#include <filesystem>
#include <map>
#include <set>
#include <span>

#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include "base/file.h"
#include "base/file_writer.h"
#include "base/progress.h"
#include "checkpoint/hub_fetch.h"
#include "checkpoint/hub_http.h"
#include "checkpoint/hub_sha256.h"
#include "sgl/error.h"

namespace sgl::hub {
namespace {

namespace fs = std::filesystem;
using Json = nlohmann::json;

constexpr size_t kMaxListing = size_t{64} << 20;    // bytes of the hub's answer about a repository
constexpr size_t kMaxFiles = 100'000;               // in a repository or folder
constexpr int64_t kMaxSideFile = int64_t{1} << 30;  // bytes of a config or tokenizer file
constexpr const char* kIndex = "model.safetensors.index.json";

bool is_hex(std::string_view s, size_t digits) {
  return s.size() == digits && s.find_first_not_of("0123456789abcdef") == std::string_view::npos;
}

std::string revision_of(const HubId& id) { return id.revision.empty() ? "main" : id.revision; }

std::string folder_name(const HubId& id) {
  std::string name = "models--" + id.repo;
  if (size_t slash = name.find('/'); slash != std::string::npos) name.replace(slash, 1, "--");
  return name;
}

/// Files that an index names. Throws CorruptFile if it is not one.
std::set<std::string> indexed_files(const std::string& path) {
  Json index = Json::parse(read_file(path, kMaxListing), nullptr, false);
  auto bad = [&] {
    return Error(ErrorKind::CorruptFile,
                 fmt::format("{} is not an index: expected {{\"weight_map\": {{tensor: file}}}}", path));
  };
  if (!index.is_object() || !index.contains("weight_map") || !index["weight_map"].is_object()) throw bad();
  std::set<std::string> files;
  for (const auto& [tensor, file] : index["weight_map"].items()) {
    if (!file.is_string()) throw bad();
    files.insert(file.get<std::string>());
  }
  return files;
}

bool has_whole_safetensors(const std::string& directory, const std::vector<std::string>& names) {
  auto has = [&](const std::string& name) { return std::find(names.begin(), names.end(), name) != names.end(); };
  if (!has("config.json")) return false;
  if (!has(kIndex)) return are_one_model(safetensors_without_index(names));
  std::set<std::string> files = indexed_files(directory + "/" + kIndex);
  return !files.empty() && std::all_of(files.begin(), files.end(), has);
}

}  // namespace

std::vector<std::string> list_files(const std::string& directory) {
  std::vector<std::string> names;
  std::error_code error;
  fs::recursive_directory_iterator it(directory, fs::directory_options::skip_permission_denied, error), end;
  while (!error && it != end && names.size() < kMaxFiles) {
    std::error_code ignored;
    if (it.depth() >= 2) it.disable_recursion_pending();
    if (it->is_regular_file(ignored)) names.push_back(it->path().lexically_relative(directory).generic_string());
    it.increment(error);
  }
  std::sort(names.begin(), names.end());
  return names;
}

std::optional<std::string> model_in_directory(const std::string& directory, const std::vector<std::string>& names,
                                              const std::string& selector) {
  if (selector.empty()) {
    if (has_whole_safetensors(directory, names)) return directory;
    if (gguf_models(names).empty()) return std::nullopt;
  }
  return (fs::path(directory) / choose_gguf(names, selector, directory).files.front()).string();
}

namespace {

/// The snapshot that the id means, whatever it holds.
std::optional<fs::path> snapshot_in_cache(const HubId& id, const HubOptions& options) {
  fs::path repo = fs::path(options.hub_cache) / folder_name(id);
  std::string commit = revision_of(id);
  std::error_code error;
  fs::path ref = repo / "refs" / commit;
  if (fs::is_regular_file(ref, error)) {
    commit = read_file(ref.string(), 1000);
    commit.erase(commit.find_last_not_of(" \r\n") + 1);
  }
  if (!is_safe_name(commit) || commit.find('/') != std::string::npos) return std::nullopt;
  fs::path snapshot = repo / "snapshots" / commit;
  if (!fs::is_directory(snapshot, error)) return std::nullopt;
  return snapshot;
}

}  // namespace

std::optional<std::string> find_in_cache(const HubId& id, const HubOptions& options) {
  const std::optional<fs::path> snapshot = snapshot_in_cache(id, options);
  if (!snapshot) return std::nullopt;
  std::vector<std::string> names = list_files(snapshot->string());
  if (!id.selector.empty()) {
    try {
      return model_in_directory(snapshot->string(), names, id.selector);
    } catch (const Error& e) {
      if (e.kind() == ErrorKind::NotFound) return std::nullopt;
      throw;
    }
  }
  return model_in_directory(snapshot->string(), names, id.selector);
}

std::optional<std::string> find_tokenizer_in_cache(const HubId& id, const HubOptions& options) {
  const std::optional<fs::path> snapshot = snapshot_in_cache(id, options);
  std::error_code error;
  if (!snapshot || !fs::exists(*snapshot / "tokenizer.json", error)) return std::nullopt;
  return snapshot->string();
}

namespace {

struct RemoteFile {
  std::string name;
  std::optional<int64_t> size;
  std::string sha256;  ///< empty for small files: the hub gives none
  std::string blob;    ///< what the cache calls the content; empty: the hub does not say
};

/// One repository being downloaded.
class RepoDownload {
 public:
  RepoDownload(const HubId& id, const HubOptions& options)
      : id_(id), options_(options), client_(options), root_(fs::path(options.hub_cache) / folder_name(id)) {}

  /// Everything that serving needs.
  std::string model() {
    const std::vector<std::string> names = list();
    std::vector<std::string> weights;
    if (id_.selector.empty() && !safetensors_without_index(names).empty()) {
      // Small files first: weights that are there then mean that all is there, and the index names the weights.
      fetch_side_files(names);
      weights = files_.count(kIndex) != 0 ? shards() : safetensors_without_index(names);
    } else if (!gguf_models(names).empty()) {
      weights = choose_gguf(names, id_.selector, id_.repo).files;
    } else {
      throw Error(
          ErrorKind::Unsupported,
          fmt::format("{} on the hub has neither .safetensors nor .gguf files; only these can be served", id_.repo));
    }
    fetch_all(weights, "weights");
    write_ref();
    std::optional<std::string> model = find_in_cache(id_, options_);
    if (!model) {
      throw Error(ErrorKind::Unsupported,
                  fmt::format("{} on the hub cannot be served: expected config.json and all parts "
                              "of its .safetensors weights",
                              id_.repo));
    }
    return *model;
  }

  /// The files beside the weights.
  std::string tokenizer() {
    fetch_side_files(list());
    write_ref();
    std::optional<std::string> tokenizer = find_tokenizer_in_cache(id_, options_);
    if (!tokenizer) {
      throw Error(ErrorKind::Unsupported,
                  fmt::format("{} on the hub has no tokenizer.json; other tokenizer files are not read", id_.repo));
    }
    return *tokenizer;
  }

 private:
  std::vector<std::string> list();
  void fetch_side_files(const std::vector<std::string>& names) {
    std::vector<std::string> side;
    std::copy_if(names.begin(), names.end(), std::back_inserter(side), is_side_file);
    fetch_all(side, "configuration");
  }
  void write_ref() const {
    fs::path ref = root_ / "refs" / revision_of(id_);
    if (revision_of(id_) == commit_) return;
    make_folder(ref.parent_path().string());
    write_file(ref.string(), commit_);
  }
  std::vector<std::string> shards() const;
  void fetch_all(const std::vector<std::string>& names, const char* what);
  void fetch(const RemoteFile& file, Progress& progress, int64_t before);
  void link(const RemoteFile& file, const std::string& blob);
  [[noreturn]] void refuse(const Response& r, const std::string& what) const;

  fs::path snapshot() const { return root_ / "snapshots" / commit_; }

  const HubId& id_;
  const HubOptions& options_;
  HttpClient client_;
  fs::path root_;
  std::string commit_;
  std::map<std::string, RemoteFile> files_;
};

/// What the hub says about one file. Throws CorruptFile unless its name is safe.
RemoteFile parse_file(const Json& j, const std::string& repo) {
  RemoteFile f;
  if (j.is_object() && j.contains("rfilename") && j["rfilename"].is_string()) f.name = j["rfilename"];
  if (!is_safe_name(f.name)) {
    throw Error(ErrorKind::CorruptFile, fmt::format("the hub lists a file '{}' in {}: not a name to write to; refused",
                                                    printable(f.name), repo));
  }
  auto size_in = [](const Json& o) -> std::optional<int64_t> {
    auto it = o.find("size");
    if (it == o.end() || !it->is_number_unsigned() || it->get<uint64_t>() > INT64_MAX) return std::nullopt;
    return it->get<int64_t>();
  };
  auto hex_in = [](const Json& o, const char* key, size_t digits) -> std::string {
    auto it = o.find(key);
    return it != o.end() && it->is_string() && is_hex(it->get_ref<const std::string&>(), digits)
               ? it->get<std::string>()
               : "";
  };
  f.size = size_in(j);
  f.blob = hex_in(j, "blobId", 40);
  if (auto lfs = j.find("lfs"); lfs != j.end() && lfs->is_object()) {
    if (auto size = size_in(*lfs)) f.size = size;
    f.sha256 = hex_in(*lfs, "sha256", 64);
    f.blob = f.sha256;  // the Git hash is that of a pointer to the content
  }
  return f;
}

/// Asks the hub for the commit and the files; returns their names.
std::vector<std::string> RepoDownload::list() {
  std::string url =
      fmt::format("{}/api/models/{}/revision/{}?blobs=true", options_.endpoint, id_.repo, url_encode(revision_of(id_)));
  Response r = client_.get(url, options_.token, "application/json", kMaxListing);
  if (r.status != 200) refuse(r, id_.repo);
  Json j = Json::parse(r.body, nullptr, false);
  bool fits =
      j.is_object() && j.contains("sha") && j["sha"].is_string() && j.contains("siblings") && j["siblings"].is_array();
  if (fits) commit_ = j["sha"];
  if (!fits || !is_hex(commit_, 40) || j["siblings"].size() > kMaxFiles) {
    throw Error(ErrorKind::CorruptFile,
                fmt::format("{} did not answer as a model hub does: expected JSON with \"sha\" (a "
                            "commit) and \"siblings\" (files); is HF_ENDPOINT right?",
                            printable_url(url)));
  }
  for (const Json& sibling : j["siblings"]) {
    RemoteFile f = parse_file(sibling, id_.repo);
    files_[f.name] = f;
  }
  std::vector<std::string> names;
  for (const auto& [name, file] : files_) names.push_back(name);
  return names;
}

std::vector<std::string> RepoDownload::shards() const {
  std::vector<std::string> out;
  for (const std::string& name : indexed_files((snapshot() / kIndex).string())) {
    if (files_.count(name) == 0) {
      throw Error(ErrorKind::CorruptFile, fmt::format("{} of {} names '{}', which the repository does not have", kIndex,
                                                      id_.repo, printable(name)));
    }
    out.push_back(name);
  }
  return out;
}

void RepoDownload::fetch_all(const std::vector<std::string>& names, const char* what) {
  int64_t total = 0, missing = 0;
  bool known = true;
  std::vector<const RemoteFile*> wanted;
  for (const std::string& name : names) {
    const RemoteFile& f = files_.at(name);
    std::error_code error;
    auto here = fs::file_size(snapshot() / name, error);
    if (!error && (!f.size || static_cast<int64_t>(here) == *f.size)) continue;
    wanted.push_back(&f);
    known = known && f.size.has_value();
    total += f.size.value_or(0);
    fs::path partial = root_ / "blobs" / (f.blob + ".incomplete");
    auto begun = fs::file_size(partial, error);
    missing += f.size.value_or(0) - (error ? 0 : static_cast<int64_t>(begun));
  }
  if (wanted.empty()) return;
  make_folder((root_ / "blobs").string());
  check_space(root_.string(), missing, id_.repo);
  Progress progress(fmt::format("Downloading {} ({})", id_.repo, what), known ? total : 0, Progress::Unit::Bytes,
                    known ? std::max<int64_t>(total - missing, 0) : 0);
  int64_t done = 0;
  for (const RemoteFile* f : wanted) {
    fetch(*f, progress, done);
    done += f->size.value_or(0);
  }
  progress.finish();
}

void RepoDownload::fetch(const RemoteFile& file, Progress& progress, int64_t before) {
  fs::path blobs = root_ / "blobs";
  std::string key = file.blob;
  if (key.empty()) {  // the hub names no hash: a name of our own, that no other content gets
    Sha256 sha;
    std::string text = commit_ + "/" + file.name;
    sha.update(std::as_bytes(std::span(text)));
    key = sha.hex();
  }
  std::string blob = (blobs / key).string();
  LockFile lock =
      lock_download((fs::path(options_.hub_cache) / ".locks" / folder_name(id_) / (key + ".lock")).string(), id_.repo);
  std::error_code error;
  auto here = fs::file_size(blob, error);
  if (error || (file.size && static_cast<int64_t>(here) != *file.size)) {
    Download job{
        .url = fmt::format("{}/{}/resolve/{}/{}", options_.endpoint, id_.repo, commit_, url_encode(file.name, "/")),
        .token = options_.token,
        .path = blob + ".incomplete",
        .size = file.size,
        .on_progress = [&](int64_t n, int64_t) { progress.update(before + n); }};
    if (is_side_file(file.name)) job.max_size = kMaxSideFile;
    Response r = fetch_verified(client_, job, file.sha256);
    if (r.status != 200) refuse(r, fmt::format("{} of {}", file.name, id_.repo));
    replace_file(blob + ".incomplete", blob);
  }
  link(file, blob);
}

/// Makes snapshots/<commit>/<name> a relative link to the blob; where there are no links, a copy.
void RepoDownload::link(const RemoteFile& file, const std::string& blob) {
  fs::path at = snapshot() / file.name;
  make_folder(at.parent_path().string());
  fs::path temporary = at.string() + ".link";
  std::error_code error;
  fs::remove(temporary, error);
  fs::create_symlink(fs::path(blob).lexically_relative(at.parent_path()), temporary, error);
  if (error) fs::copy_file(blob, temporary, fs::copy_options::overwrite_existing, error);
  if (error) {
    throw Error(ErrorKind::ResourceExhausted,
                fmt::format("cannot link {} into the cache: {}", at.string(), error.message()));
  }
  replace_file(temporary.string(), at.string());
}

/// Explains a status that is not 200.
void RepoDownload::refuse(const Response& r, const std::string& what) const {
  std::string page = options_.endpoint + "/" + id_.repo;
  if (r.error_code == "GatedRepo" || r.status == 403) {
    throw Error(
        ErrorKind::NotFound,
        fmt::format("{}: access denied (HTTP {}): the model is gated; accept its terms at {} and set HF_TOKEN to a "
                    "token of that account{}",
                    what, r.status, page, options_.token.empty() ? "" : " (the present token is not enough)"));
  }
  if (r.error_code == "RevisionNotFound") {
    throw Error(ErrorKind::NotFound, fmt::format("{} has no revision '{}'; {} lists what there is", id_.repo,
                                                 revision_of(id_), page + "/tree/main"));
  }
  if (r.status == 401) {
    throw Error(
        ErrorKind::NotFound,
        fmt::format("{}: the hub wants to know who asks (HTTP 401): {}; check the name, or set HF_TOKEN if it is "
                    "private or gated",
                    what,
                    options_.token.empty() ? "no token is set, and hubs answer so for missing models too"
                                           : "the token is invalid or has expired"));
  }
  if (r.status == 404) {
    throw Error(ErrorKind::NotFound,
                fmt::format("{} is not on the hub at {} (HTTP 404), revision '{}'; check the name, or "
                            "give a path to local files",
                            what, options_.endpoint, revision_of(id_)));
  }
  throw Error(ErrorKind::Unavailable,
              fmt::format("{}: {} answered HTTP {}; try again later, or set HF_ENDPOINT to a mirror", what,
                          printable_url(r.url), r.status));
}

}  // namespace

std::string download_repo(const HubId& id, const HubOptions& options) { return RepoDownload(id, options).model(); }

std::string download_tokenizer(const HubId& id, const HubOptions& options) {
  return RepoDownload(id, options).tokenizer();
}

}  // namespace sgl::hub
