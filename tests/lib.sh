# shellcheck shell=bash disable=SC2034
# Shared by the scripts in tests/: where things live, how they speak, who runs the servers.
# Sourced, not run.

shopt -s inherit_errexit
umask 022
unset MAKEFLAGS MFLAGS MAKELEVEL

ROOT=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)

# What this machine has prepared for us: servers, cargo-pgrx, its settings. One folder, removed by
# nothing but the user.
default_cache() {
    if [[ $EUID -eq 0 ]]; then
        echo /var/cache/auth_ext
    else
        echo "${XDG_CACHE_HOME:-$HOME/.cache}/auth_ext"
    fi
}
CACHE=${AUTH_EXT_CACHE:-$(default_cache)}
NEIGHBOURS=$CACHE/neighbours

# cargo-pgrx links with this flag. All stages use it, once, so that they share what they compile.
PGRX_FLAG="-C link-arg=-Wl,--no-gc-sections"
[[ ${RUSTFLAGS:-} == *"$PGRX_FLAG" ]] || export RUSTFLAGS="${RUSTFLAGS:+$RUSTFLAGS }$PGRX_FLAG"
# Where `cargo pgrx init` has written, if the user ran it; ours is another one. Kept for the scripts that these start.
export AUTH_EXT_USER_PGRX=${AUTH_EXT_USER_PGRX-${PGRX_HOME:-${HOME:-/nonexistent}/.pgrx}}
export PGRX_HOME=$CACHE/pgrx
export PATH=$CACHE/cargo/bin:$PATH

PGRX_VERSION=0.18.1
MAJORS_KNOWN="15 16 17 18"
# Versions of the extension that were released: sql/released has what they created.
RELEASED="0.1.0"

# The lock file is committed; CI must not change it.
LOCKED=()
[[ -z ${CI:-} ]] || LOCKED=(--locked)

say() { printf '%s\n' "$*"; }
die() {
    printf '\nauth_ext: %s\n' "$*" >&2
    exit 1
}

has_cargo_pgrx() { [[ $(cargo pgrx --version 2>/dev/null) == "cargo-pgrx $PGRX_VERSION" ]]; }

known_major() { [[ " $MAJORS_KNOWN " == *" $1 "* ]]; }

# The pg_config of the user's own server of a major: PG_CONFIG_<MAJOR>, or what `cargo pgrx init` knows, if the servers' user may
# look there (it may not into root's home). Nothing where there is none.
given_pg_config() {
    local name=PG_CONFIG_$1 known
    if [[ -n ${!name:-} ]]; then
        command -v "${!name}" || die "$name: there is no ${!name}"
        return
    fi
    known=$(sed -n "s/^pg$1 *= *\"\(.*\)\"\$/\1/p" "$AUTH_EXT_USER_PGRX/config.toml" 2>/dev/null) || true
    [[ -z $known ]] || ! as_server_user test -x "$known" || echo "$known"
}

# What pip is told for all that it fetches: a wheel, and of those only the files that tests/wheels names by their hashes.
pip_install() {
    PIP_ROOT_USER_ACTION=ignore python3 -m pip install --quiet --disable-pip-version-check --no-deps --no-compile \
        --only-binary=:all: --require-hashes "$@" </dev/null
}

# What a file of tests/wheels names: `name==version`, on one line.
wheels_of() { sed -n 's/^\([A-Za-z0-9_-]*==[^ ]*\).*/\1/p' "$ROOT/tests/wheels/$1.txt" | paste -sd ' '; }

# The cached server of a major; tests only ever run copies of it.
cached_pg_config() { realpath "$CACHE/pg/$1/bin/pg_config"; }

# PostgreSQL refuses to run as root: then its servers belong to somebody else.
server_user() {
    if [[ $EUID -ne 0 ]]; then
        id -un
    elif [[ -n ${AUTH_EXT_OS_USER:-} ]]; then
        echo "$AUTH_EXT_OS_USER"
    elif id postgres >/dev/null 2>&1; then
        echo postgres
    else
        echo nobody
    fi
}

as_server_user() {
    if [[ $EUID -eq 0 ]]; then
        local user
        user=$(server_user)
        setpriv --reuid="$user" --regid="$(id -g "$user")" --init-groups -- "$@"
    else
        "$@"
    fi
}

# pg_regress of an installation. It stands beside PGXS.
pg_regress_of() {
    local pgxs regress
    pgxs=$("$1" --pgxs)
    regress=$(dirname "$pgxs")/../test/regress/pg_regress
    [[ -x $regress ]] || die "no pg_regress at $regress; it comes with the server's development package"
    realpath "$regress"
}
