# Sourced by the scripts beside it: where things are, how to speak, how to install a Debian package.
#
# Everything that is fetched or started for tests and the demo lives under .tools/ (ignored by git), so
# `rm -rf .tools` undoes it. Debian packages are the one exception, and each one is named before apt runs.

repo=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
tools="$repo/.tools"
bin="$tools/bin"
export PATH="$bin:$PATH:/usr/sbin:/sbin"
[ -d "$HOME/.cargo/bin" ] && export PATH="$PATH:$HOME/.cargo/bin"

say() { printf '%s: %s\n' "${0##*/}" "$*"; }
die() { printf '%s: %s\n' "${0##*/}" "$*" >&2; exit 1; }
have() { command -v "$1" >/dev/null 2>&1; }

# apt_install PACKAGE..: installs them as root; anyone else is told the command to run.
apt_install() {
    [ $# -gt 0 ] || return 0
    if [ "$(id -u)" -ne 0 ] || ! have apt-get; then
        die "missing: $*. Install with: sudo apt-get install -y --no-install-recommends $*"
    fi
    say "installing Debian packages: $*"
    local log="$tools/apt.log"
    mkdir -p "$tools"
    # The package lists of a fresh image are empty or stale, so a first failure earns one update.
    if ! apt_get install "$@" >"$log" 2>&1; then
        apt_get update >>"$log" 2>&1 || true
        apt_get install "$@" >>"$log" 2>&1 || { tail -n 20 "$log" >&2; die "apt-get could not install: $* (log: $log)"; }
    fi
}

apt_get() {
    local verb=$1; shift
    DEBIAN_FRONTEND=noninteractive apt-get -q -y -o DPkg::Lock::Timeout=300 "$verb" \
        $([ "$verb" = install ] && echo --no-install-recommends) "$@"
}

docker_answers() { have docker && timeout 20 docker info --format '{{.ServerVersion}}' 2>/dev/null | grep -q .; }
