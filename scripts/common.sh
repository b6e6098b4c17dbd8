# shellcheck shell=bash
# Functions that ./quickstart and ./check share; sourced by bash, after `set -euo pipefail` and from the project's root.
#
# All of them say what they do on stdout, ask no questions (so they work without a terminal) and end the program with a
# message that names what failed and what to do. Long output goes to build/log/.

readonly kLogDir=build/log

say() { printf '\033[1m==>\033[0m %s\n' "$*"; }
note() { printf '    %s\n' "$*"; }
die() {
  printf '\nerror: %s\n' "$1" >&2
  shift
  for line in "$@"; do printf '       %s\n' "$line" >&2; done
  exit 1
}
# Without a terminal, or where the user asks for it, no escape codes.
if [[ ! -t 1 || -n ${NO_COLOR-} ]]; then
  say() { printf '==> %s\n' "$*"; }
fi

# quietly NAME COMMAND…: runs the command with its output in build/log/NAME.log; returns its status.
quietly() {
  local log=$kLogDir/$1.log
  shift
  mkdir -p "$kLogDir"
  printf '\n$ %s\n' "$*" >>"$log"
  "$@" >>"$log" 2>&1 </dev/null
}

# packages GROUP…: the names that scripts/packages.txt lists for these groups.
packages() {
  local group package rest wanted
  while read -r group package rest; do
    for wanted in "$@"; do
      if [[ $group == "$wanted" ]]; then echo "$package"; fi
    done
  done <scripts/packages.txt
}

is_installed() { [[ $(dpkg-query -W -f='${db:Status-Status}' "$1" 2>/dev/null) == installed ]]; }

# as_root COMMAND…: runs it as it is for root, else through sudo.
as_root() {
  if [[ $(id -u) == 0 ]]; then "$@"; else sudo "$@"; fi
}

# install_packages GROUP…: installs what is missing of the groups; where nothing is, it does and says nothing.
install_packages() {
  if ! command -v apt-get >/dev/null || ! command -v dpkg-query >/dev/null; then
    say "This is not a Debian system: taking for granted that it has what scripts/packages.txt lists"
    return
  fi
  local missing=() package
  for package in $(packages "$@"); do
    is_installed "$package" || missing+=("$package")
  done
  if [[ ${#missing[@]} == 0 ]]; then return; fi

  say "Installing ${#missing[@]} missing Debian packages (log: $kLogDir/apt.log)"
  note "${missing[*]}"
  local by_hand="apt-get install ${missing[*]}"
  if [[ $(id -u) != 0 ]]; then
    command -v sudo >/dev/null || die "packages are missing, this user is not root and there is no sudo." \
      "Let an administrator run: $by_hand"
    if ! sudo -n true 2>/dev/null; then
      [[ -t 0 ]] || die "packages are missing and sudo wants a password, but there is no terminal to ask for it." \
        "Run this first: sudo $by_hand"
      sudo -v || die "sudo refused. Let an administrator run: $by_hand"
    fi
  fi

  # sudo drops the environment, so what apt may need of it is handed over.
  local apt=(env DEBIAN_FRONTEND=noninteractive ${http_proxy:+"http_proxy=$http_proxy"}
             ${https_proxy:+"https_proxy=$https_proxy"} apt-get -q -o DPkg::Lock::Timeout=300 -o Dpkg::Use-Pty=0
             -o Acquire::Retries=3)
  # The status of an update says little: one broken source of many fails it. Whether the packages can be had decides.
  quietly apt as_root "${apt[@]}" update || note "apt-get update reported errors; trying with the lists that there are"
  local unknown=()
  for package in "${missing[@]}"; do
    [[ -n $(apt-cache show --no-all-versions "$package" 2>/dev/null) ]] || unknown+=("$package")
  done
  if [[ ${#unknown[@]} != 0 ]]; then
    tail -n 5 "$kLogDir/apt.log" >&2
    if grep -q 'Failed to fetch' "$kLogDir/apt.log"; then
      die "apt-get cannot reach the package archive (see above), and has no older list of packages." \
        "Check the network, http_proxy where one is needed, and /etc/apt/sources.list*; then run this again."
    fi
    die "apt knows no package ${unknown[*]}." \
      "The list is made for Debian 12 with its main archive; this is $(. /etc/os-release && echo "$PRETTY_NAME")."
  fi
  # --no-remove: never take something away that this machine's owner has put there.
  if ! quietly apt as_root "${apt[@]}" install -y --no-install-recommends --no-remove "${missing[@]}"; then
    tail -n 15 "$kLogDir/apt.log" >&2
    die "apt-get could not install the packages; its last lines are above, all of them in $kLogDir/apt.log." \
      "Check the network (and http_proxy, where one is needed), or what conflicts, and run this again."
  fi
}

# build_jobs: compilers to run at once: one a core, as long as each has 1.5 GB of memory.
build_jobs() {
  local cores available_kb jobs
  cores=$(nproc)
  available_kb=$(awk '$1 == "MemAvailable:" {print $2}' /proc/meminfo)
  jobs=$((available_kb / 1500000))
  echo $((jobs < 1 ? 1 : jobs < cores ? jobs : cores))
}

# build PRESET TARGET CMAKE_ARGUMENT…: configures with the arguments and builds the target (all: everything).
build() {
  local preset=$1 target=$2
  shift 2
  say "Configuring build/$preset"
  quietly "configure-$preset" cmake --preset "$preset" "$@" || {
    tail -n 30 "$kLogDir/configure-$preset.log" >&2
    return 1
  }
  say "Building build/$preset ($target)"
  cmake --build "build/$preset" --target "$target" -j "$(build_jobs)" </dev/null
}

# port_taken PORT: whether something listens there on 127.0.0.1.
port_taken() { (exec 3<>"/dev/tcp/127.0.0.1/$1") 2>/dev/null; }

# free_port FIRST: the first port from FIRST on that nothing listens on.
free_port() {
  local port
  for ((port = $1; port < $1 + 200; port++)); do
    if ! port_taken "$port"; then
      echo "$port"
      return
    fi
  done
  die "ports $1 to $((port - 1)) are all taken."
}
