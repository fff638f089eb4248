# shellcheck shell=bash disable=SC2154
# What a stranger does with the packages, in a fresh Debian that has neither Rust nor our sources. Sourced by packaging/test.
#
# The shell's variables of test_deb are those of the functions that it calls: $root, where that Debian is, `inside`, which runs a
# command there, and `postgres`, which runs it as that user. Its clusters are Debian's: 15/main, and 15/elsewhere.

MAJOR=15
DOCUMENTATION=/usr/share/doc/postgresql-$MAJOR-auth-ext

# as USER CLUSTER COMMAND...
as() { "${inside[@]}" setpriv --reuid="$1" --regid="$1" --init-groups env PGCLUSTER="$MAJOR/$2" "${@:3}"; }

# psql of a cluster, as an operating system's user whom peer authentication knows. Stops at the first error.
psql_as() { as "$1" "$2" psql -XqAt -v ON_ERROR_STOP=1 "${@:3}"; }
psql_main() { psql_as postgres main "$@"; }
psql_elsewhere() { psql_as postgres elsewhere "$@"; }

make_debian() {
    say "a fresh Debian (a minute)…"
    debootstrap --variant=minbase bookworm "$root" >"$RUN/debootstrap.log" 2>&1 || die "$(tail "$RUN/debootstrap.log")"
    # Nothing is started by installing it.
    printf '#!/bin/sh\nexit 101\n' >"$root/usr/sbin/policy-rc.d" && chmod 755 "$root/usr/sbin/policy-rc.d"
    # Where this machine's packages come from.
    cp -r /etc/apt/apt.conf.d "$root/etc/apt/" 2>/dev/null || true
}

# apt COMMAND...: its last words, where it fails.
apt() { "${inside[@]}" apt-get --yes --quiet --no-install-recommends "$@" >"$RUN/apt.log" 2>&1 || die "$(tail "$RUN/apt.log")"; }

install_packages() {
    cp "$PACKAGES/postgresql-$MAJOR-auth-ext_"*.deb "$root/tmp/auth_ext.deb"
    cp "$PACKAGES/auth-ext-jwks_"*.deb "$root/tmp/auth-ext-jwks.deb"
    apt update
    apt install postgresql-$MAJOR
    apt install /tmp/auth_ext.deb /tmp/auth-ext-jwks.deb
    ! "${inside[@]}" sh -c 'command -v cargo || command -v gcc' || die "this Debian has a compiler: the test shows nothing"
}

# Debian makes 15/main itself. No cluster listens but on its socket: the network is this machine's.
start_clusters() {
    "${inside[@]}" pg_createcluster $MAJOR elsewhere >/dev/null
    local cluster
    for cluster in main elsewhere; do
        "${inside[@]}" pg_conftool $MAJOR $cluster set listen_addresses ''
        "${inside[@]}" pg_conftool $MAJOR $cluster set shared_preload_libraries auth_ext
        "${inside[@]}" pg_conftool $MAJOR $cluster set auth_ext.notify relay
        "${inside[@]}" pg_ctlcluster $MAJOR $cluster start
    done
    "${inside[@]}" adduser --system --group --quiet --no-create-home keeper
    psql_main -c 'CREATE ROLE keeper LOGIN' -c 'CREATE ROLE web' -c 'CREATE ROLE reader'
}

# Not by pg_ctlcluster, which wants /proc.
stop_clusters() {
    local cluster
    for cluster in main elsewhere; do
        as postgres $cluster /usr/lib/postgresql/$MAJOR/bin/pg_ctl stop --silent -m immediate -D /var/lib/postgresql/$MAJOR/$cluster || true
    done
}

# Every link of the documentation leads to something that is in the package.
links_lead_somewhere() {
    local page link
    while IFS=: read -r page link; do
        [[ -e $(dirname "$page")/$link ]] || die "${page#"$root"} links to $link, which is not in the package"
    done < <(cd / && grep -o ']([^)#]*' "$root$DOCUMENTATION"/*.md "$root$DOCUMENTATION"/docs/*.md |
        sed 's/](//' | grep -v -e ':http' -e ':$')
}

# The README's blocks, as psql has them. A block that begins with `-- error: CODE` must fail with that SQLSTATE.
five_minutes() {
    psql_main -c 'CREATE DATABASE tour'
    awk '
        /^```sql$/ { inside = 1; code = ""; print "\\echo block"; next }
        /^```$/ && code { printf "\\set ON_ERROR_STOP on\nSELECT 1 / (:'\''SQLSTATE'\'' = '\''%s'\'')::integer AS \"it fails as the README says\";\n", code }
        /^```$/ { inside = 0 }
        inside && /^-- error: / { code = $3; print "\\set ON_ERROR_STOP off" }
        inside
    ' "$root$DOCUMENTATION/README.md" | psql_main tour -f - >"$RUN/tour.log" 2>&1 || die "the README does not do what it says:
$(tail "$RUN/tour.log")"
    [[ $(grep -c '^block$' "$RUN/tour.log") -gt 8 ]] || die "the README has no tour"
    expect "$(<"$RUN/tour.log")" "session_version_mismatch"
}

# A database of 0.1.0 with something of all that 0.1.0 kept, before and after its update.
update_from() {
    psql_main -c 'SET client_min_messages = warning' -c 'DROP DATABASE IF EXISTS old' -c 'DROP DATABASE IF EXISTS updated' -c 'CREATE DATABASE old'
    # A released version's script, which no package has.
    cp "sql/released/auth_ext--$1.sql" "$root/usr/share/postgresql/$MAJOR/extension/"
    psql_main old -o /dev/null -v version="$1" -v partitioned= -f - <tests/pg-upgrade-fill.sql
    psql_main old -c 'GRANT EXECUTE ON FUNCTION auth.verify_api_key(text), auth.issue_jwt TO web'
    psql_main old -f - <tests/pg-upgrade-owner.sql
    no_wrong_verdict "the new library, before the update"
    psql_main old -c 'ALTER EXTENSION auth_ext UPDATE'
    rm "$root/usr/share/postgresql/$MAJOR/extension/auth_ext--$1.sql"
    expect "$(psql_main old -c "SELECT extversion FROM pg_extension WHERE extname = 'auth_ext'")" "$VERSION"
    no_wrong_verdict "after the update"
    granted old psql_main
    psql_main old -c "INSERT INTO kept VALUES ('bundle', auth.export_keys('a passphrase of the test'))"
    # What checks it also changes it.
    psql_main -c 'CREATE DATABASE updated TEMPLATE old'
    psql_main updated -o /dev/null -f - <tests/pg-upgrade-check.sql
}

no_wrong_verdict() {
    local wrong
    wrong=$(psql_main old -c 'SELECT name, verdict, expected FROM verdicts WHERE verdict <> expected')
    [[ -z $wrong ]] || die "$1: $wrong"
}

# granted DATABASE PSQL: what the administrator had given to web before the update.
granted() {
    expect "$("$2" "$1" -c "SELECT has_function_privilege('web', 'auth.verify_api_key(text)', 'EXECUTE')")" t
    expect "$("$2" "$1" -c "SELECT has_function_privilege('web', 'auth.bump_session_version(text, text)', 'EXECUTE')")" f
}

# The secrets of keys come back from their bundle, and then all holds.
check_restored() {
    psql_elsewhere "$1" -o /dev/null -c 'SELECT 1 / (keys_without_secret > 0)::integer FROM auth.health()' \
        -c "SELECT auth.import_keys(value, 'a passphrase of the test') FROM kept WHERE name = 'bundle'"
    psql_elsewhere "$1" -o /dev/null -f - <tests/pg-upgrade-check.sql
}

# Into the other cluster, by a superuser, and by the database's owner as docs/operating.md says.
dump_and_restore() {
    as postgres main sh -c 'pg_dumpall --roles-only' | grep -v -E '^(CREATE|ALTER) ROLE postgres' | psql_elsewhere -f -
    psql_elsewhere -c 'CREATE DATABASE restored' -c 'CREATE DATABASE by_owner OWNER keeper'

    as postgres main sh -c 'umask 077; pg_dump -Fc old >/tmp/dump'
    as postgres elsewhere pg_restore --exit-on-error -j 2 -d restored /tmp/dump
    granted restored psql_elsewhere
    check_restored restored

    as keeper main sh -c 'umask 077; pg_dump -Fc old >/tmp/dump_by_owner'
    psql_elsewhere by_owner -c 'CREATE EXTENSION auth_ext' -c 'GRANT INSERT ON ALL TABLES IN SCHEMA auth TO keeper' \
        -c 'GRANT EXECUTE ON ALL FUNCTIONS IN SCHEMA auth TO keeper'
    as keeper elsewhere sh -c "cd /tmp && pg_restore --list dump_by_owner | grep -v -e ' SCHEMA - ' -e ' EXTENSION ' -e ' COMMENT - ' >list &&
        pg_restore --no-owner --exit-on-error --dbname by_owner -j 2 -L list dump_by_owner"
    psql_elsewhere by_owner -c 'REVOKE INSERT ON ALL TABLES IN SCHEMA auth FROM keeper' \
        -c 'REVOKE EXECUTE ON ALL FUNCTIONS IN SCHEMA auth FROM keeper' -o /dev/null -c "SELECT auth.grant_access('web', 'application')"
    check_restored by_owner
}

# The program, as the user that its package makes. It finds the authorities of the system, and nobody at this address.
fetch() {
    local program=(as auth-ext-jwks main env PGHOST=/var/run/postgresql auth-ext-jwks) said
    expect "$("${program[@]}" --version)" "auth-ext-jwks $VERSION"
    [[ -f $root/usr/lib/systemd/system/auth-ext-jwks@.service ]] || die "there is no unit"
    [[ -f $root/usr/share/man/man1/auth-ext-jwks.1.gz ]] || die "there is no manual page"
    psql_main old -c 'CREATE ROLE "auth-ext-jwks" LOGIN' -o /dev/null -c "SELECT auth.grant_access('\"auth-ext-jwks\"', 'fetcher')"
    "${program[@]}" --once old
    psql_main old -c "INSERT INTO auth.issuers (issuer, audience, jwks_uri) VALUES ('https://127.0.0.1:1', '{app}', 'https://127.0.0.1:1')"
    ! said=$("${program[@]}" --once old 2>&1) || die "it ends well without an answer"
    expect "$said" "https://127.0.0.1:1: kept as it was: Connection refused"
}

# As docs/operating.md says: what is left is the application's own.
uninstall() {
    psql_main old -o /dev/null -c 'SELECT auth.detach_users(), auth.detach_api_keys(), auth.detach_identities()' -c 'DROP VIEW verdicts' -c 'DROP POLICY own ON notes' \
        -c 'DROP INDEX kept_api_key_fingerprint_idx' -c 'DROP EXTENSION auth_ext'
    expect "$(psql_main old -c 'UPDATE users SET email = email RETURNING session_version > 0')" t
    stop_clusters
    apt purge postgresql-$MAJOR-auth-ext auth-ext-jwks
    local left
    left=$(find "$root" -xdev \( -name 'auth_ext*' -o -name '*auth-ext*' \) -not -path "$root/tmp/*" -not -path "$root/var/cache/*")
    [[ -z $left ]] || die "still there: $left"
}

# step WHAT COMMAND...: says how long it took.
step() {
    local started=$SECONDS
    "${@:2}"
    say "$1: $((SECONDS - started)) s"
}

test_deb() {
    local root=$RUN/debian
    [[ $EUID -eq 0 ]] || die "only root can make a Debian to install in"
    command -v debootstrap >/dev/null || apt-get install --yes --quiet debootstrap </dev/null
    local inside=(chroot "$root" env -i PATH=/usr/sbin:/usr/bin:/sbin:/bin LC_ALL=C.UTF-8 DEBIAN_FRONTEND=noninteractive)
    step "Debian" make_debian
    step "apt install" install_packages
    (
        trap 'stop_clusters 2>/dev/null' EXIT
        step "two clusters" start_clusters
        step "links" links_lead_somewhere
        step "the README's five minutes" five_minutes
        step "the demo" demo psql_main postgres
        for released in $RELEASED; do
            step "$released, updated" update_from "$released"
        done
        step "dump and restore" dump_and_restore
        step "auth-ext-jwks" fetch
        step "uninstalled" uninstall
    )
}
