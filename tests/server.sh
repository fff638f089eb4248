# shellcheck shell=bash
# Throw-away servers in a folder under /tmp: made, found running, stopped. Sourced, not run; the script that
# sources it must call stop_servers and remove $RUN however it ends.
# shellcheck source=tests/lib.sh
source "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

# The caller's own settings for PostgreSQL's clients are not for our servers.
for name in "${!PG@}"; do
    [[ $name == PGRX_* ]] || unset "$name"
done

RUN=$(mktemp -d /tmp/auth_ext.XXXXXX)
chmod 755 "$RUN"

# Whatever still runs on data in the run folder. Tests stop their servers themselves, also those
# that they share; this is for what was interrupted.
stop_servers() {
    local pid_file data pg_ctl
    while IFS= read -r pid_file; do
        data=${pid_file%/postmaster.pid}
        pg_ctl=("$RUN/$(cat "$data/PG_VERSION")"/pg*/bin/pg_ctl)
        as_server_user env -C "$RUN" "${pg_ctl[0]}" stop --silent -m immediate -D "$data" || true
    done < <(find "$RUN" -name postmaster.pid) &>/dev/null
}

# A copy of a major's server at $2: of the cached one, or of AUTH_EXT_SERVER_<MAJOR> (see tests/assert-server).
copy_server() {
    local other=AUTH_EXT_SERVER_$1
    flock --shared "$CACHE/lock" cp -a --reflink=auto "${!other:-$CACHE/pg/$1}" "$2"
    chmod -R u+w "$2"
}

# install_extension MAJOR TREE PROFILE [FEATURE]
install_extension() {
    PGRX_BUILD_FLAGS="${LOCKED[*]}" cargo pgrx install --profile "$3" --no-default-features \
        --features "pg$1${4:+ $4}" --pg-config "$(realpath "$2/bin")/pg_config"
    # What a released version created, for tests of the update from it.
    cp "$ROOT"/sql/released/*.sql "$("$2/bin/pg_config" --sharedir)/extension/"
}

# start_server NAME BIN [SETTINGS]: a fresh cluster at $RUN/NAME; its socket is there, too.
start_server() {
    local home=$RUN/$1 bin=$2
    install -d -m 755 -o "$(server_user)" "$home"
    as_server_user env -C "$home" "$bin/initdb" --pgdata=data --username=postgres --auth=trust \
        --encoding=UTF8 --locale=C --no-sync >"$home/initdb.log" || return
    cat >>"$home/data/postgresql.conf" <<-CONF
		listen_addresses = ''
		unix_socket_directories = '$home'
		fsync = off
		log_min_messages = ${AUTH_EXT_LOG:-warning}
		${3:-}
	CONF
    as_server_user env -C "$home" "$bin/pg_ctl" start --silent -w -D data -l log || {
        cat "$home/log"
        return 1
    }
}
