#!/usr/bin/env bash
# Makes build/arm64-sysroot: the ARM64 libraries that the cross build links (group arm64 of scripts/packages.txt).
#
# The packages are fetched by apt with a private state, as if for an ARM64 machine with nothing installed, and unpacked,
# not installed. So the host's package system stays as it is, no root is needed, and packages that Debian cannot install
# for two architectures at once (libsimdjson-dev) work too. The C and C++ runtimes are not taken from there: they come
# with the cross compiler.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
source scripts/common.sh

readonly kRoot=$PWD/build/arm64-sysroot
readonly kWork=$PWD/build/arm64-packages
mapfile -t names < <(packages arm64)

stamp="${names[*]}"
if [[ -f $kRoot/stamp && $(<"$kRoot/stamp") == "$stamp" ]]; then exit 0; fi

say "Fetching ${#names[@]} ARM64 libraries and what they need (log: $kLogDir/arm64-sysroot.log)"
rm -rf "$kRoot" "$kWork"
mkdir -p "$kRoot" "$kWork"/{lists/partial,archives/partial}
: >"$kWork/status"
apt=(apt-get -q -o APT::Architecture=arm64 -o APT::Architectures::=arm64 -o Dir::State::status="$kWork/status"
     -o Dir::State::lists="$kWork/lists" -o Dir::Cache="$kWork" -o Dir::Cache::archives="$kWork/archives"
     -o APT::Sandbox::User=root -o Debug::NoLocking=1 -o Acquire::Retries=3)
for step in "update" "install -y --download-only --no-install-recommends ${names[*]}"; do
  # shellcheck disable=SC2086 # a step is a list of words
  if ! quietly arm64-sysroot "${apt[@]}" $step; then
    tail -n 10 "$kLogDir/arm64-sysroot.log" >&2
    die "cannot fetch the ARM64 packages; the last lines are above." "Check the network and /etc/apt/sources.list*."
  fi
done

for package in "$kWork"/archives/*.deb; do
  case $(basename "$package") in
    libc6* | libc-* | linux-libc-dev* | libstdc++* | libgcc* | gcc-* | libcrypt* | lib*san*) continue ;;
  esac
  dpkg-deb -x "$package" "$kRoot"
done
# Absolute links would lead to the host's files.
find "$kRoot" -type l -lname '/*' | while read -r link; do
  ln -sfn "$kRoot$(readlink "$link")" "$link"
done
rm -rf "$kWork"
echo "$stamp" >"$kRoot/stamp"
