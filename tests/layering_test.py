#!/usr/bin/env python3
"""Checks that each folder of src/ includes only what the layering allows.

    base <- tensor <- ops <- {checkpoint, cache} <- nn <- models <- engine <- {lang, server <- bench} <- cli
    base <- text     text <- grammar <- engine

`lang`, `server`, `bench` and `cli` reach the engine through the public headers in include/sgl, and through single headers
that EXTRA_HEADERS names. The rules are the data below; docs/architecture.md explains them. Usage: layering_test.py [ROOT]
prints one line a breach and exits with 1 if there is any; layering_test.py --self-test runs the checks on made-up trees.
Needs Python's standard library only.
"""

import re
import sys
import tempfile
import unittest
from pathlib import Path

# Folder -> the folders it may include directly; it may also include what those may ("below"), unless PUBLIC_ONLY.
LAYERS = {
    "base": [],
    "tensor": ["base"],
    "ops": ["tensor"],
    "checkpoint": ["ops"],
    "cache": ["ops"],
    "nn": ["checkpoint", "cache"],
    "models": ["nn"],
    "text": ["base"],
    "grammar": ["text"],
    "engine": ["models", "grammar"],
    "lang": ["base"],
    "server": ["base"],
    "bench": ["ops", "server"],
    "cli": ["server", "lang", "base"],
}

# Folders above the engine: they use include/sgl, the folders named in LAYERS, and these single headers.
EXTRA_HEADERS = {"lang": ["grammar/regex_syntax.h"],
                 "cli": ["checkpoint/hub.h", "bench/bench.h", "grammar/grammar.h", "grammar/explain.h",
                         "grammar/token_vocabulary.h", "text/tokenizer_json.h"]}

# A public header that only its owner and the folders above that may include. Those not named here are for all.
PUBLIC_OWNERS = {"engine.h": "engine",
                 **{f"program{part}.h": "lang" for part in ("", "_backend", "_expr", "_json", "_options", "_run", "_state")}}
ABOVE = {"engine": ["engine", "lang", "server", "bench", "cli"], "lang": ["lang", "cli"]}

# What CMakeLists.txt may link to a folder besides its layers: the public headers' implementation.
LINKED_BEHIND_PUBLIC = {"lang": ["engine"], "server": ["engine"], "bench": ["engine"],
                        "cli": ["engine", "bench", "grammar"]}

THIRD_PARTY = re.compile(r"(boost|nlohmann|fmt|spdlog|CLI|simdjson|yaml-cpp|gtest|gmock|benchmark|curl|openssl)([./]|$)"
                         r"|(pcre2|utf8proc|xxhash|zlib|zconf|lzma|immintrin|x86intrin|arm_neon)\.h$")
CUDA = re.compile(r"(cuda|cublas|cudnn|curand|nccl|nvtx|cooperative_groups|cutlass|cute|cub|thrust|flashinfer)\w*([./]|$)")
PLATFORM = re.compile(r"(sys/|netinet/|arpa/|net/|mach/|windows\.h$|winsock2\.h$"
                      r"|(unistd|fcntl|sched|pthread|dlfcn|poll|netdb|termios|cpuid|execinfo|spawn)\.h$)")
SOURCE_SUFFIXES = {".h", ".cpp", ".inl", ".cu", ".cuh"}
TEST_FILE = re.compile(r"(^|_)test(_|$)")  # a stem: radix_tree_test, test_client
INCLUDE = re.compile(r'^\s*#\s*include\s*(?:"([^"]+)"|<([^>]+)>)')


def below(folder):
    """The folders that `folder` may include, itself among them."""
    found, open_ = set(), [folder]
    while open_:
        name = open_.pop()
        if name not in found:
            found.add(name)
            open_ += LAYERS[name]
    return found


def sources(directory):
    return sorted(p for p in directory.rglob("*") if p.suffix in SOURCE_SUFFIXES)


def includes(path):
    """Yields (line number, header, whether it is quoted)."""
    for number, line in enumerate(path.read_text(encoding="utf-8", errors="replace").splitlines(), 1):
        match = INCLUDE.match(line)
        if match:
            yield number, match.group(1) or match.group(2), match.group(1) is not None


def check_header_kinds(path, relative, header, is_test):
    """Breaches that hold for any file: who may include CUDA's and the platform's headers."""
    if CUDA.match(header) and "_cuda" not in path.stem:
        yield f"<{header}> is CUDA's: only files named *_cuda* may include it"
    if PLATFORM.match(header) and not relative.startswith("src/base/") and not is_test:
        yield f"<{header}> is the platform's: only src/base may include it; add what you need to a header there"


def check_source_file(root, path, folder):
    relative = path.relative_to(root).as_posix()
    is_test = TEST_FILE.search(path.stem) is not None
    for line, header, quoted in includes(path):
        where = f"{relative}:{line}"
        for breach in check_header_kinds(path, relative, header, is_test):
            yield f"{where}: {breach}"
        first = header.split("/")[0]
        if first == "sgl":
            owner = PUBLIC_OWNERS.get(header[len("sgl/"):])
            if owner and folder not in ABOVE[owner]:
                yield f"{where}: {folder} lies below {owner}, so it may not include {header}"
        elif (root / "src" / header).is_file():
            if "/" not in header:
                yield f"{where}: write the folder too: \"{folder}/{header}\""
            elif first not in below(folder) and header not in EXTRA_HEADERS.get(folder, []):
                yield f"{where}: {folder} may not include {header}; it may use {', '.join(sorted(below(folder)))}"
        elif quoted:
            if (path.parent / header).is_file():
                yield f"{where}: write the folder too: \"{folder}/{header}\""
            elif first in LAYERS:
                yield f"{where}: there is no src/{header}"
            else:
                yield f"{where}: \"{header}\" is not the project's: use <{header}>"


def check_public_header(root, path):
    relative = path.relative_to(root).as_posix()
    for line, header, quoted in includes(path):
        where = f"{relative}:{line}"
        if header.startswith("sgl/"):
            if not (root / "include" / header).is_file():
                yield f"{where}: there is no include/{header}"
        elif quoted or (root / "src" / header).is_file():
            yield f"{where}: a public header includes only sgl/ and the standard library, not {header}"
        else:
            if THIRD_PARTY.match(header) or PLATFORM.match(header) or CUDA.match(header):
                yield f"{where}: a public header includes only sgl/ and the standard library, not <{header}>"


def check_cycles(root):
    """A cycle among headers, followed over include/ and src/."""
    def resolve(header):
        for base in (root / "src", root / "include"):
            if (base / header).is_file():
                return base / header
        return None

    graph = {}
    for path in sources(root / "src") + sources(root / "include"):
        graph[path] = [p for p in (resolve(h) for _, h, _ in includes(path)) if p]
    done, stack = set(), []

    def visit(path):
        if path in stack:
            cycle = stack[stack.index(path):] + [path]
            yield "cycle: " + " -> ".join(p.relative_to(root).as_posix() for p in cycle)
        elif path not in done:
            stack.append(path)
            for next_path in graph.get(path, []):
                yield from visit(next_path)
            stack.pop()
            done.add(path)

    for path in graph:
        yield from visit(path)


def check_cmake(root):
    """Each sgl_folder(NAME DEPS ...) links only folders that the layering allows."""
    path = root / "CMakeLists.txt"
    if not path.is_file():
        return
    text = path.read_text(encoding="utf-8")
    for match in re.finditer(r"^sgl_folder\(\s*(\w+)([^)]*)\)", text, re.MULTILINE):
        number = text.count("\n", 0, match.start()) + 1
        folder = match.group(1)
        if folder not in LAYERS:
            yield f"CMakeLists.txt:{number}: folder {folder} has no place in the layering (tests/layering_test.py)"
            continue
        deps = re.search(r"DEPS((?:\s+\w+)*)", match.group(2).split("THIRD_PARTY")[0])
        for dep in deps.group(1).split() if deps else []:
            if dep not in below(folder) and dep not in LINKED_BEHIND_PUBLIC.get(folder, []):
                yield f"CMakeLists.txt:{number}: {folder} may not link {dep}"


def check_tree(root):
    """All breaches under `root`, each as one line with file, line and rule."""
    breaches = []
    for directory in sorted(p for p in (root / "src").iterdir() if p.is_dir()):
        if directory.name not in LAYERS:
            breaches.append(f"src/{directory.name}: this folder has no place in the layering (tests/layering_test.py)")
            continue
        for path in sources(directory):
            breaches += check_source_file(root, path, directory.name)
    for path in sources(root / "include"):
        breaches += check_public_header(root, path)
    breaches += check_cycles(root)
    breaches += check_cmake(root)
    return breaches


class LayeringTest(unittest.TestCase):
    """The checks, on trees made for them."""

    def breaches(self, **files):
        """check_tree on a tree of `files`; in a keyword, `__` stands for `/`, the suffix comes last: ops__a_h."""
        with tempfile.TemporaryDirectory() as directory:
            root = Path(directory)
            (root / "src").mkdir()
            (root / "include").mkdir()
            for key, text in files.items():
                stem, suffix = key.rsplit("_", 1)
                name = "CMakeLists.txt" if key == "cmake_txt" else stem.replace("__", "/") + "." + suffix
                path = root / name
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_text(text)
            return check_tree(root)

    def test_lower_folders_and_own_headers_are_allowed(self):
        self.assertEqual(self.breaches(
            src__base__log_h="#include <string>\n",
            src__ops__backend_h='#include "base/log.h"\n#include "sgl/error.h"\n',
            src__nn__linear_cpp='#include "ops/backend.h"\n#include <fmt/format.h>\n',
            src__engine__engine_cpp='#include "sgl/engine.h"\n#include "nn/linear.h"\n',
            src__nn__linear_h="",
            include__sgl__error_h="#include <stdexcept>\n",
            include__sgl__engine_h='#include "sgl/error.h"\n'), [])

    def test_upward_include_is_reported_with_file_line_and_rule(self):
        found = self.breaches(src__ops__a_cpp='\n#include "engine/b.h"\n', src__engine__b_h="")
        self.assertEqual(len(found), 1, found)
        self.assertRegex(found[0], r"^src/ops/a\.cpp:2: ops may not include engine/b\.h; it may use base, ops, tensor$")

    def test_siblings_may_not_include_each_other(self):
        found = self.breaches(src__cache__a_cpp='#include "checkpoint/b.h"\n', src__checkpoint__b_h="",
                              src__text__c_cpp='#include "tensor/d.h"\n', src__tensor__d_h="")
        self.assertEqual(len(found), 2, found)

    def test_server_and_cli_reach_the_engine_through_public_headers_only(self):
        found = self.breaches(src__server__a_cpp='#include "sgl/engine.h"\n#include "engine/scheduler.h"\n',
                              src__cli__b_cpp='#include "checkpoint/hub.h"\n#include "server/a.h"\n#include "nn/c.h"\n',
                              src__engine__scheduler_h="", src__server__a_h="", src__checkpoint__hub_h="",
                              src__nn__c_h="", include__sgl__engine_h="")
        self.assertEqual([f.split(" may use")[0] for f in found],
                         ["src/cli/b.cpp:3: cli may not include nn/c.h; it",
                          "src/server/a.cpp:2: server may not include engine/scheduler.h; it"])

    def test_folders_below_the_engine_may_not_include_its_public_header(self):
        found = self.breaches(src__nn__a_cpp='#include "sgl/engine.h"\n', include__sgl__engine_h="")
        self.assertEqual(found, ["src/nn/a.cpp:1: nn lies below engine, so it may not include sgl/engine.h"])

    def test_include_without_its_folder(self):
        found = self.breaches(src__nn__a_cpp='#include "b.h"\n#include "nlohmann/json.hpp"\n#include "nn/gone.h"\n',
                              src__nn__b_h="")
        self.assertEqual(found, ['src/nn/a.cpp:1: write the folder too: "nn/b.h"',
                                 'src/nn/a.cpp:2: "nlohmann/json.hpp" is not the project\'s: use <nlohmann/json.hpp>',
                                 "src/nn/a.cpp:3: there is no src/nn/gone.h"])

    def test_cycle_among_headers(self):
        found = self.breaches(src__nn__a_h='#include "nn/b.h"\n', src__nn__b_h='#include "nn/c.h"\n',
                              src__nn__c_h='#include "nn/a.h"\n')
        self.assertEqual(found, ["cycle: src/nn/a.h -> src/nn/b.h -> src/nn/c.h -> src/nn/a.h"])

    def test_cuda_headers_only_in_cuda_files(self):
        found = self.breaches(src__ops__norm_cuda_cu="#include <cuda_runtime.h>\n#include <cub/cub.cuh>\n",
                              src__ops__norm_cpu_cpp="#include <cuda_runtime.h>\n#include <cublasLt.h>\n#include <curl/curl.h>\n")
        self.assertEqual(len(found), 2, found)
        self.assertIn("src/ops/norm_cpu.cpp:1: <cuda_runtime.h> is CUDA's", found[0])

    def test_platform_headers_only_in_base_and_tests(self):
        found = self.breaches(src__base__file_cpp="#include <sys/mman.h>\n", src__cache__a_test_cpp="#include <unistd.h>\n",
                              src__cache__test_b_h="#include <unistd.h>\n",
                              src__cache__a_cpp="#include <unistd.h>\n#include <signal.h>\n")
        self.assertEqual(len(found), 1, found)
        self.assertIn("src/cache/a.cpp:1: <unistd.h> is the platform's", found[0])

    def test_public_header_with_third_party_or_private_include(self):
        found = self.breaches(include__sgl__a_h='#include <nlohmann/json.hpp>\n#include "base/b.h"\n#include <vector>\n',
                              src__base__b_h="")
        self.assertEqual([f.split(": ")[0] for f in found], ["include/sgl/a.h:1", "include/sgl/a.h:2"])

    def test_unknown_folder(self):
        found = self.breaches(src__misc__a_cpp="")
        self.assertEqual(len(found), 1)
        self.assertIn("src/misc: this folder has no place", found[0])

    def test_cmake_links_against_the_layering(self):
        found = self.breaches(cmake_txt="sgl_folder(base THIRD_PARTY fmt)\nsgl_folder(ops DEPS tensor engine)\n"
                                        "sgl_folder(server DEPS engine THIRD_PARTY json)\nsgl_folder(misc)\n")
        self.assertEqual(len(found), 2, found)
        self.assertEqual(found[0], "CMakeLists.txt:2: ops may not link engine")
        self.assertIn("CMakeLists.txt:4: folder misc", found[1])

    def test_layers_have_no_cycle(self):
        for folder, direct in LAYERS.items():
            for dep in direct:
                self.assertNotIn(folder, below(dep))


def main():
    if sys.argv[1:] == ["--self-test"]:
        unittest.main(argv=sys.argv[:1])
    root = Path(sys.argv[1] if len(sys.argv) > 1 else Path(__file__).parent.parent).resolve()
    breaches = check_tree(root)
    for breach in breaches:
        print(breach)
    count = len(sources(root / "src")) + len(sources(root / "include"))
    print(f"layering: {len(breaches)} breaches in {count} files")
    sys.exit(1 if breaches else 0)


if __name__ == "__main__":
    main()
