# shellcheck shell=bash disable=SC2153
# One whole run of the benchmark, on fresh clusters. Sourced by tests/benchmark, which sets how much of everything there is.
MAJOR=15
BACKGROUND=()
# What a client is started by.
CLIENT=()

stop_background() {
    kill "${BACKGROUND[@]}" || true
    wait "${BACKGROUND[@]}" || true
    BACKGROUND=()
} &>/dev/null

# start SERVER [SETTINGS]
start() { start_server "$MAJOR/$1" "$BIN" "max_connections = 600
${2:-}"; }

# restart SERVER [COMMAND...]: starts it anew, by that command.
restart() {
    as_server_user env -C "$RUN/$MAJOR/$1" "${@:2}" "$BIN/pg_ctl" restart --silent -w -D data -l log
}

# at SERVER COMMAND...: a client of that server.
at() { PGHOST=$RUN/$MAJOR/$1 PGUSER=${AS:-postgres} PGDATABASE=${DB:-postgres} "${@:2}"; }

# in_background LOG SERVER COMMAND...: the same until stop_background, which ends the program itself.
in_background() {
    (PGHOST=$RUN/$MAJOR/$2 PGUSER=postgres PGDATABASE=${DB:-postgres} exec "${@:3}") &>"$RUN/$1" &
    BACKGROUND+=($!)
}

# on SERVER ARGUMENT...: psql there.
on() {
    at "$1" "$BIN/psql" -Xq -v ON_ERROR_STOP=1 -v rows="$ROWS" -v times="$TIMES" -v rounds="$ROUNDS" "${@:2}"
}

# tps SERVER ARGUMENT...: transactions a second of pgbench there. Its last words are shown if it fails.
tps() {
    local said
    said=$(at "$1" "${CLIENT[@]}" "$BIN/pgbench" -n "${@:2}" 2>&1) || {
        tail -n 20 <<<"$said" >&2
        return 1
    }
    sed -n 's/^tps = \([0-9.]*\).*/\1/p' <<<"$said"
}

# note WHAT VALUE: written by the shell, not measured in a database.
note() { printf '%s\t%s\n' "$1" "$2" >>"$RUN/noted"; }
microseconds() { awk -v tps="$1" 'BEGIN { print 1000000 / tps }'; }

# All of it. What was measured goes to standard output, what happens to standard error.
one_run() {
    : >"$RUN/noted"
    {
        measure_verification
        measure_clients
        measure_sessions_and_memory
        measure_keys
        measure_commits
        measure_writers
        measure_scale
        [[ $MODE == quick ]] || measure_peer
    } >&2
    local server
    for server in bench everything; do
        on "$server" -c 'COPY measured TO STDOUT'
    done
    for server in writers scale; do
        DB=$server on bench -c 'COPY measured TO STDOUT'
    done
    for server in keys10 keys1000; do
        DB=$server on keys -c 'COPY measured TO STDOUT'
    done
    cat "$RUN/noted"
    stop_servers
    rm -rf "$RUN/$MAJOR"/{bench,everything,keys,commits}
}

measure_verification() {
    local round
    start bench
    say "Making $ROWS users…"
    on bench -f tests/bench/setup.sql
    say "Verifying, seen before and for the first time…"
    on bench -v when='' -f tests/bench/verify.sql
    say "The same while another session commits…"
    on bench -c 'CREATE TABLE busy (n bigint)' -c 'INSERT INTO busy VALUES (0)'
    echo 'UPDATE busy SET n = n + 1;' >"$RUN/busy.sql"
    in_background busy.log bench "$BIN/pgbench" -n -f "$RUN/busy.sql" -T 3600
    on bench -v when='busy ' -f tests/bench/verify.sql
    kill -0 "${BACKGROUND[@]}" || die "no session has committed meanwhile"
    stop_background

    say "The same with everything on: preloaded, hanging up, with a heartbeat…"
    start everything "shared_preload_libraries = 'auth_ext'
auth_ext.when_ended = hang_up
auth_ext.standby_heartbeat = '1s'"
    on everything -f tests/bench/setup.sql
    # By turns with the server where all that is off.
    for ((round = 0; round < ROUNDS; round++)); do
        on bench -v when='off ' -v rounds=1 -f tests/bench/verify.sql
        on everything -v when='on ' -v rounds=1 -f tests/bench/verify.sql
    done

    say "Policies over $ROWS rows…"
    on bench -v how='scan ' -f tests/bench/policies.sql
    PGOPTIONS='-c max_parallel_workers_per_gather=2 -c parallel_setup_cost=0 -c parallel_tuple_cost=0' \
        on bench -v how='parallel ' -f tests/bench/policies.sql
    on bench -c 'CREATE INDEX ON docs (owner)' -c 'ANALYZE docs'
    on bench -v how='index ' -f tests/bench/policies.sql
}

# One row by its key, under a policy; the trivial round trip is a SELECT of the token's text.
request() { printf '%s\n' '\set n random(1, 90)' 'BEGIN;' "SELECT $1;" 'SELECT body FROM docs WHERE id = 7 + 1000 * :n;' 'COMMIT;'; }

measure_clients() {
    local server token what figure round script
    say "One row and one token, by a client's round trip…"
    token=$(on bench -Atc "SELECT token FROM tokens WHERE alg = 'HS256'")
    printf '%s\n' '\set id random(1, '"$ROWS"')' 'SELECT email FROM users WHERE id = :id;' >"$RUN/R.sql"
    echo 'SELECT auth.verify_jwt(:token);' >"$RUN/R verify.sql"
    for ((round = 0; round < REPEATS; round++)); do
        for what in R 'R verify'; do
            figure=$(tps bench -M prepared -T "$SECONDS_EACH" -D token="$token" -f "$RUN/$what.sql")
            note "$what" "$(microseconds "$figure")"
        done
    done

    say "Transactions of 8 clients…"
    for server in bench everything; do
        on "$server" -c 'CREATE ROLE app LOGIN' -c 'GRANT SELECT ON docs TO app' -c 'ALTER TABLE docs ENABLE ROW LEVEL SECURITY' \
            -c 'CREATE POLICY own ON docs USING (owner = auth.user_id_bigint() OR owner = 7)'
        token=$(on "$server" -Atc "SELECT token FROM tokens WHERE alg = 'HS256'")
        request "auth.authenticate('$token')" >"$RUN/tx_$server.sql"
    done
    request "'$token'::text" >"$RUN/tx_trivial.sql"
    for ((round = 0; round < REPEATS; round++)); do
        for what in 'trivial bench trivial' 'authenticate bench bench' 'everything everything everything'; do
            read -r what server script <<<"$what"
            figure=$(AS=app tps "$server" -M prepared -c 8 -j 2 -T "$SECONDS_EACH" -f "$RUN/tx_$script.sql")
            note "tx $what" "$figure"
        done
    done
}

measure_sessions_and_memory() {
    say "Sessions, $((5 * ROWS)) of them…"
    on bench -f tests/bench/sessions.sql
    say "Memory over $TOKENS tokens…"
    on bench -v tokens="$TOKENS" -f tests/bench/memory.sql
}

# The first verification of fresh connections, notes beginning with $1.
measure_fresh() {
    local keys what figure token round
    for ((round = 0; round < REPEATS; round++)); do
        for keys in 10 1000; do
            token=$(DB=keys$keys on keys -Atc 'SELECT token FROM tokens WHERE n = 2')
            echo "SELECT '$token'::text;" >"$RUN/nothing.sql"
            echo "SELECT auth.verify_jwt('$token');" >"$RUN/verify.sql"
            for what in nothing verify; do
                figure=$(DB=keys$keys tps keys -C -t "$CONNECTIONS" -f "$RUN/$what.sql")
                note "$1fresh $keys $what" "$(microseconds "$figure")"
            done
        done
    done
}

measure_keys() {
    local keys
    say "Ten keys and a thousand…"
    start keys
    for keys in 10 1000; do
        on keys -c "CREATE DATABASE keys$keys"
        DB=keys$keys on keys -v keys=$keys -f tests/bench/keys_setup.sql
        DB=keys$keys on keys -v keys=$keys -f tests/bench/keys_memory.sql
        DB=keys$keys on keys -v keys=$keys -v times=20 -f tests/bench/keys_change.sql
    done
    measure_fresh ''
    echo "shared_preload_libraries = 'auth_ext'" >>"$RUN/$MAJOR/keys/data/postgresql.conf"
    restart keys
    measure_fresh 'preloaded '
}

# bumps SCRIPT MODE CLIENTS: transactions a second
bumps() { PGOPTIONS="-c auth_ext.notify=$2" tps commits -M prepared -c "$3" -j 2 -T "$SECONDS_EACH" -f "$RUN/$1.sql"; }

measure_commits() {
    local last=$(($(nproc) - 1))
    say "Commits with a real flush, by one client and by 32…"
    start commits "fsync = on
shared_preload_libraries = 'auth_ext'
max_wal_size = 4GB"
    on commits -f tests/bench/commits.sql
    printf '%s\n' '\set id random(1, 100000)' \
        'UPDATE plain SET password_hash = clock_timestamp()::text, session_version = session_version + 1 WHERE id = :id;' >"$RUN/plain.sql"
    printf '%s\n' '\set id random(1, 100000)' 'UPDATE users SET password_hash = clock_timestamp()::text WHERE id = :id;' >"$RUN/bump.sql"
    measure_bumps ''
    say "The same with the clients on one core and the server on another…"
    restart commits taskset -c "$last"
    CLIENT=(taskset -c 0)
    measure_bumps 'apart '
    CLIENT=()
    say "The same on a disk whose flush takes 2 ms…"
    cc -shared -fPIC -O2 -o "$RUN/slow_flush.so" tests/bench/slow_flush.c
    restart commits env LD_PRELOAD="$RUN/slow_flush.so"
    measure_bumps 'slow '
}

# Notes beginning with $1.
measure_bumps() {
    local what figure name mode clients script round
    for ((round = 0; round < REPEATS; round++)); do
        for what in 'plain off 1 plain' 'off off 1 bump' 'off off 32 bump' 'relay relay 32 bump' 'inline inline 32 bump'; do
            read -r name mode clients script <<<"$what"
            figure=$(bumps "$script" "$mode" "$clients")
            note "$1commit $name $clients" "$figure"
        done
    done
}

measure_writers() {
    say "Bulk updates of the users…"
    on bench -c 'CREATE DATABASE writers'
    DB=writers on bench -f tests/bench/writers.sql
}

# Clients that have each written in a transaction, and stay in it.
open_transactions() {
    local open deadline=$((SECONDS + 60))
    [[ $1 -gt 0 ]] || return 0
    printf '%s\n' 'BEGIN;' 'SELECT pg_current_xact_id();' '\sleep 1800 s' 'COMMIT;' >"$RUN/open.sql"
    in_background open.log bench "$BIN/pgbench" -n -c "$1" -t 1 -f "$RUN/open.sql"
    until open=$(on bench -Atc "SELECT count(*) FROM pg_stat_activity WHERE state = 'idle in transaction' AND backend_xid IS NOT NULL") &&
        [[ $open -eq $1 ]]; do
        [[ $SECONDS -lt $deadline ]] || die "$open open transactions instead of $1: $(tail -n 3 "$RUN/open.log")"
        sleep 0.1
    done
}

measure_scale() {
    local grows size round
    export DB=scale
    DB=postgres on bench -c 'CREATE DATABASE scale'
    on bench -f tests/bench/scale_setup.sql
    for grows in users revocations sessions log transactions; do
        for size in ${SIZES[$grows]}; do
            say "What a call costs with $size $grows…"
            if [[ $grows == transactions ]]; then
                open_transactions "$size"
            else
                on bench -c "CALL fill_$grows($size)" -c 'VACUUM ANALYZE' -c CHECKPOINT
            fi
            for ((round = 0; round < REPEATS; round++)); do
                on bench -v times=20000 -v grows="$grows" -v size="$size" -f tests/bench/scale.sql
            done
        done
        case $grows in
            revocations) on bench -v relation=revoked_tokens -v batch=5000 -v retention=3600 -f tests/bench/prune.sql ;;
            log) on bench -v relation=invalidation_log -v batch=20000 -v retention=1 -f tests/bench/prune.sql ;;
            transactions) stop_background ;;
        esac
    done
    export -n DB
    unset DB
}

# PostgREST with its own check of a token, and with ours behind it.
measure_peer() {
    say "PostgREST with and without auth.pre_request…"
    local token what url figure settings round
    on bench -f tests/bench/peer.sql
    token=$(on bench -Atc "SELECT auth.issue_jwt('42', claims => '{\"role\":\"web\"}', issuer => 'https://HS256', ttl => '1 day')")
    for ((round = 0; round < REPEATS; round++)); do
        for what in anonymous own pre_request; do
            settings=''
            [[ $what != pre_request ]] || settings='db-pre-request = "auth.pre_request"'
            start_postgrest "$settings"
            figure=$(requests "$url" "$([[ $what == anonymous ]] || echo "Authorization: Bearer $token")")
            note "peer $what" "$figure"
            stop_background
        done
    done
}

# start_postgrest SETTINGS: sets url, to a row by its key.
start_postgrest() {
    local port=$((20000 + RANDOM % 20000)) deadline=$((SECONDS + 60))
    cat >"$RUN/postgrest.conf" <<-CONF
		db-uri = "postgres:///postgres?host=$RUN/$MAJOR/bench&user=authenticator"
		db-schemas = "peer"
		db-anon-role = "web"
		db-pool = 8
		jwt-secret = "0123456789abcdef0123456789abcdef"
		server-host = "127.0.0.1"
		server-port = $port
		log-level = "error"
		$1
	CONF
    "$NEIGHBOURS/postgrest" "$RUN/postgrest.conf" &>"$RUN/postgrest.log" &
    BACKGROUND+=($!)
    until grep -q 'Schema cache loaded' "$RUN/postgrest.log"; do
        [[ -e /proc/${BACKGROUND[0]} && $SECONDS -lt $deadline ]] || die "PostgREST does not start: $(tail -n 5 "$RUN/postgrest.log")"
        sleep 0.1
    done
    url="http://127.0.0.1:$port/notes?id=eq.8"
}

# requests URL [HEADER]: a second, all of them answered with 200.
requests() {
    local said
    # While its pool fills it refuses.
    "$NEIGHBOURS/wrk" -t 1 -c 8 -d 2s ${2:+-H "$2"} "$1" >/dev/null
    said=$("$NEIGHBOURS/wrk" -t 1 -c 8 -d "${SECONDS_EACH}s" ${2:+-H "$2"} "$1")
    ! grep -E 'Non-2xx|Socket errors' <<<"$said" >&2 || die "PostgREST refuses: $(tail -n 5 "$RUN/postgrest.log")"
    sed -n 's/^Requests\/sec: *//p' <<<"$said"
}
