//! Somebody with DML on the attached tables, or their owner, wants an ended session back, or another's rights.

use auth_ext_tests::{App, Ask, Client, Cluster, PARTITIONED, database_with_key, refused, shared};

fn partitioned(name: &'static str) -> (App<'static>, Client) {
    let app = App::of_shape(shared(), name, &PARTITIONED);
    let client = app.connect();
    (app, client)
}

const REINSERT: &str = "WITH d AS (DELETE FROM users WHERE id = 41 RETURNING *)
     INSERT INTO users (id, email, note, region, is_active, session_version)
     SELECT id, email, note, region, is_active, 0 FROM d";

#[test]
fn a_move_that_failed_is_forgotten_whatever_undid_it() {
    let (_, mut a) = partitioned("failed_moves");
    for fails in [
        "UPDATE users SET region = region WHERE id = 41 RETURNING 1 / (id - id)",
        "UPDATE users SET region = 'us' WHERE id = 41 RETURNING 1 / (id - id)",
        "UPDATE users SET region = 'us', note = (1 / (id - id))::text WHERE id = 41",
        "MERGE INTO users AS u USING (VALUES (41)) AS v (id) ON u.id = v.id
             WHEN MATCHED THEN UPDATE SET region = 'us', note = (1 / (u.id - u.id))::text",
    ] {
        for in_a_block in [false, true] {
            let ended = a.issue("41");
            a.bump("41");
            let alive = a.issue("41");
            a.run("BEGIN");
            if in_a_block {
                let quoted = fails.replace('\'', "''");
                a.run(&format!(
                    "DO $$ BEGIN EXECUTE '{quoted}'; EXCEPTION WHEN division_by_zero THEN NULL; END $$"
                ));
            } else {
                a.run("SAVEPOINT s");
                refused(a.batch_execute(fails), "22012", None);
                a.run("ROLLBACK TO s");
            }
            a.run(REINSERT);
            a.run("COMMIT");
            assert_eq!(a.verdict(&ended), "session_version_mismatch", "{fails}");
            let why = "the user was deleted";
            assert_eq!(
                a.verdict(&alive),
                "session_version_mismatch",
                "{why}: {fails}"
            );
        }
    }
}

#[test]
fn a_row_that_moves_keeps_the_greater_version_whatever_the_statement_says() {
    let (_, mut a) = partitioned("moves");
    a.bump("41");
    a.bump("41");
    let token = a.issue("41");
    for moves in [
        "UPDATE users SET region = 'us', session_version = 0 WHERE id = 41",
        "MERGE INTO users AS u USING (VALUES (41)) AS v (id) ON u.id = v.id
             WHEN MATCHED THEN UPDATE SET region = 'eu', session_version = 1",
        "INSERT INTO users (id, region) VALUES (41, 'eu')
             ON CONFLICT (id, region) DO UPDATE SET region = 'us', note = 'x', session_version = 0",
    ] {
        // (The last one needs the row in 'eu'; a unique index over the partition key lets it move from 14 on.)
        if a.batch_execute(moves).is_err() {
            continue;
        }
        assert_eq!(a.version("41"), Some(2), "{moves}");
        assert_eq!(a.verdict(&token), "valid", "{moves}");
    }
}

#[test]
fn moving_and_reinserting_in_one_statement_gives_no_lower_version() {
    let (_, mut a) = partitioned("moves");
    a.bump("41");
    let token = a.issue("41");
    a.run(
        "WITH m AS (UPDATE users SET region = 'us' WHERE id = 41 RETURNING id)
         INSERT INTO users (id, region, session_version) SELECT id, 'eu', 0 FROM m",
    );
    a.run("DELETE FROM users WHERE id = 41 AND region = 'us'");
    assert_ne!(a.verdict(&token), "valid", "one of the two was deleted");
    let lowest: i64 = a.one("SELECT min(session_version) FROM users WHERE id = 41", &[]);
    assert!(lowest >= 1, "{lowest}");
}

#[test]
fn truncating_a_partition_that_was_attached_is_the_deletion_of_its_users() {
    let (_, mut a) = partitioned("attached_partition");
    a.run(
        "CREATE TABLE users_as (LIKE users INCLUDING DEFAULTS);
         ALTER TABLE users ATTACH PARTITION users_as FOR VALUES IN ('as');
         INSERT INTO users (id, region) VALUES (77, 'as')",
    );
    let token = a.issue("77");
    a.run("TRUNCATE users_as; INSERT INTO users (id, region) VALUES (77, 'as')");
    assert_eq!(a.verdict(&token), "session_version_mismatch");
}

#[test]
fn a_partition_may_be_foreign_and_an_owners_trigger_of_our_name_fails_nobody() {
    let (_, mut a) = partitioned("foreign_partition");
    a.run(
        "CREATE FUNCTION mine() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NULL; END';
         CREATE TRIGGER zzzz_auth_ext_8_truncate_x BEFORE TRUNCATE ON users FOR EACH STATEMENT EXECUTE FUNCTION mine('a ON app.users b');
         CREATE TABLE \"p'); ALTER ROLE nobody SUPERUSER; --\" PARTITION OF users FOR VALUES IN ('x');
         CREATE TABLE other (id bigint, email text, note text, region text, is_active boolean, session_version bigint);
         CREATE TRIGGER zzzz_auth_ext_8_truncate BEFORE TRUNCATE ON other FOR EACH STATEMENT EXECUTE FUNCTION mine()",
    );
    // Ours cannot be made there; the command goes through all the same.
    a.run("ALTER TABLE other ALTER COLUMN id SET NOT NULL, ALTER COLUMN region SET NOT NULL,
               ALTER COLUMN region SET DEFAULT 'eu', ALTER COLUMN is_active SET NOT NULL, ALTER COLUMN session_version SET NOT NULL");
    a.run("ALTER TABLE users ATTACH PARTITION other FOR VALUES IN ('y')");
    a.run(
        "CREATE FOREIGN DATA WRAPPER nothing; CREATE SERVER nowhere FOREIGN DATA WRAPPER nothing",
    );
    // A foreign partition is possible where no index is unique over it.
    a.run(
        "CREATE TABLE loose (id text, region text) PARTITION BY LIST (region);
           SELECT auth.detach_users(), auth.attach_users('loose');
           CREATE FOREIGN TABLE far PARTITION OF loose FOR VALUES IN ('far') SERVER nowhere",
    );
    let covered: i64 = a.one("SELECT count(*) FROM pg_trigger WHERE tgrelid = '\"p''); ALTER ROLE nobody SUPERUSER; --\"'::regclass AND tgtype & 32 = 32", &[]);
    assert_eq!(covered, 0, "detached");
}

#[test]
fn a_version_past_half_of_its_column_is_refused_and_every_row_can_always_be_bumped_and_deactivated()
{
    for (id_type, version_type, half) in [
        ("bigint", "bigint", i64::MAX / 2),
        ("text", "integer", i64::from(i32::MAX / 2)),
    ] {
        let db = database_with_key(shared(), "half");
        let mut a = shared().connect(&db);
        a.run(&format!(
            "CREATE TABLE users (id {id_type} PRIMARY KEY, is_active boolean NOT NULL DEFAULT true, session_version {version_type} NOT NULL DEFAULT 0);
             INSERT INTO users VALUES ('1'), ('2'); SELECT auth.attach_users('users');
             CREATE TABLE keys (id text PRIMARY KEY, user_id {id_type}, is_active boolean NOT NULL DEFAULT true);
             SELECT auth.attach_api_keys('keys');
             CREATE TABLE staging (LIKE users)"
        ));
        let key: String = a.one("SELECT id FROM auth.create_api_key('1', 'x')", &[]);
        for statement in [
            format!(
                "UPDATE users SET session_version = {} WHERE id = '1'",
                half + 1
            ),
            format!("INSERT INTO users VALUES ('3', true, {})", half + 1),
            format!(
                "INSERT INTO users VALUES ('1') ON CONFLICT (id) DO UPDATE SET session_version = {}",
                half + 1
            ),
            format!(
                "MERGE INTO users AS u USING (VALUES (1)) AS v ON u.id = '1' WHEN MATCHED THEN UPDATE SET session_version = {}",
                half + 1
            ),
        ] {
            refused(a.batch_execute(&statement), "22023", None);
        }
        refused(
            a.batch_execute(&format!("UPDATE keys SET session_version = {}", i64::MAX)),
            "22023",
            None,
        );
        a.run(&format!(
            "UPDATE users SET session_version = {half} WHERE id = '1'"
        ));
        let token = a.issue("1");
        assert_eq!(a.bump("1"), half + 1, "further");
        a.run("UPDATE users SET session_version = session_version + 1 WHERE id = '1'");
        a.run("UPDATE users SET is_active = false WHERE id = '1'");
        assert_eq!(a.verdict(&token), "inactive_user");
        assert!(a.one::<bool>("SELECT auth.revoke_api_key($1)", &[&key]));
        // In bulk, and for the others.
        a.run("SET auth_ext.bulk_threshold = 1; DELETE FROM users; RESET auth_ext.bulk_threshold; INSERT INTO users VALUES ('1'), ('5')");
        let token = a.issue("5");
        a.bump("5");
        a.bump("1");
        assert_eq!(a.verdict(&token), "session_version_mismatch");
    }
}

#[test]
fn what_a_failing_statement_has_changed_is_not_kept() {
    let app = App::new(shared(), "undone");
    let mut a = app.connect();
    a.run(
        "CREATE FUNCTION look(t text) RETURNS text LANGUAGE plpgsql AS 'BEGIN PERFORM auth.check_jwt(t); PERFORM 1 / 0; RETURN t; END'",
    );
    let token = a.issue("41");
    a.run("UPDATE auth.issuers SET not_before = clock_timestamp() + interval '1 s'");
    assert_eq!(a.verdict(&token), "issued_before_cutoff");
    // The row is changed, its AFTER trigger has not fired, and RETURNING reads the keys.
    let takes_back = format!("UPDATE auth.issuers SET not_before = NULL RETURNING look('{token}')");
    refused(a.batch_execute(&takes_back), "22012", None);
    assert_eq!(a.verdict(&token), "issued_before_cutoff");
    a.run("BEGIN; SAVEPOINT s");
    refused(a.batch_execute(&takes_back), "22012", None);
    a.run("ROLLBACK TO s");
    assert_eq!(a.verdict(&token), "issued_before_cutoff");
    a.run("COMMIT");
    a.run(&format!(
        "DO $$ BEGIN UPDATE auth.issuers SET not_before = NULL WHERE look('{token}') IS NULL; EXCEPTION WHEN division_by_zero THEN NULL; END $$"
    ));
    assert_eq!(a.verdict(&token), "issued_before_cutoff");
}

/// An application whose owner is `eve`, who would like to be superuser, with keys and users.
fn of_eve(name: &str) -> (String, Client, Client) {
    let db = database_with_key(shared(), name);
    let mut admin = shared().connect(&db);
    let role = format!("eve_{db}");
    admin.run(&format!(
        "CREATE ROLE \"{role}\" LOGIN; GRANT CREATE ON DATABASE \"{db}\" TO \"{role}\"; GRANT CREATE ON SCHEMA public TO \"{role}\";
         GRANT EXECUTE ON FUNCTION auth.attach_users, auth.attach_api_keys, auth.create_api_key TO \"{role}\""
    ));
    let mut eve = shared().connect_as(&db, &role);
    eve.run(
        "CREATE TABLE users (id bigint PRIMARY KEY, is_active boolean NOT NULL DEFAULT true);
         INSERT INTO users VALUES (1), (2); SELECT auth.attach_users('users');
         CREATE TABLE keys (id text PRIMARY KEY, user_id bigint REFERENCES users DEFERRABLE INITIALLY DEFERRED,
                            is_active boolean NOT NULL DEFAULT true, last_used_at timestamptz);
         SELECT auth.attach_api_keys('keys')",
    );
    (role, eve, admin)
}

fn is_superuser(client: &mut Client, role: &str) -> bool {
    client.one("SELECT rolsuper FROM pg_roles WHERE rolname = $1", &[&role])
}

const RISE: &str = "CREATE FUNCTION rise() RETURNS trigger LANGUAGE plpgsql AS $$
    BEGIN EXECUTE format('ALTER ROLE %I SUPERUSER', (SELECT tableowner FROM pg_tables WHERE tablename = 'users' AND schemaname = 'public'));
    RETURN NULL; END $$";

#[test]
fn who_verifies_a_key_runs_no_trigger_of_its_tables_owner_at_commit() {
    for (name, deferrable) in [
        ("d1", "DEFERRABLE INITIALLY DEFERRED"),
        ("d2", "DEFERRABLE INITIALLY IMMEDIATE"),
    ] {
        let (role, mut eve, mut admin) = of_eve(name);
        let key: String = eve.one("SELECT key FROM auth.create_api_key('1', 'x')", &[]);
        eve.run(RISE);
        eve.run(&format!(
            "CREATE CONSTRAINT TRIGGER rise AFTER INSERT OR UPDATE ON keys {deferrable} FOR EACH ROW EXECUTE FUNCTION rise()"
        ));
        for how in [
            "SELECT auth.verify_api_key('{key}')",
            "BEGIN; SET CONSTRAINTS ALL DEFERRED; SELECT auth.verify_api_key('{key}'); COMMIT",
            "BEGIN; SELECT auth.authenticate_api_key('{key}'); COMMIT",
            "BEGIN; DECLARE c CURSOR WITH HOLD FOR SELECT auth.verify_api_key('{key}'); COMMIT; FETCH ALL FROM c; CLOSE c",
        ] {
            admin.run(&how.replace("{key}", &key));
            assert!(!is_superuser(&mut admin, &role), "{how}");
        }
    }
}

#[test]
fn what_must_write_is_refused_while_its_triggers_could_run_at_commit() {
    let (role, mut eve, mut admin) = of_eve("d3");
    eve.run(RISE);
    eve.run(
        "CREATE TABLE audit (at timestamptz);
         CREATE CONSTRAINT TRIGGER rise AFTER INSERT ON audit DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION rise();
         CREATE FUNCTION audit() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN INSERT INTO public.audit VALUES (now()); RETURN NULL; END';
         CREATE TRIGGER audit AFTER UPDATE ON users FOR EACH ROW EXECUTE FUNCTION audit();
         CREATE TRIGGER audit AFTER INSERT OR UPDATE ON keys FOR EACH ROW EXECUTE FUNCTION audit()",
    );
    // Through another table of hers.
    for statement in [
        "SELECT auth.bump_session_version('1')",
        "SELECT auth.create_api_key('1', 'x')",
        "BEGIN; SET CONSTRAINTS ALL DEFERRED; SELECT auth.bump_session_version('1'); COMMIT",
        "BEGIN; DECLARE c CURSOR WITH HOLD FOR SELECT auth.bump_session_version('1'); COMMIT",
    ] {
        refused(admin.batch_execute(statement), "42501", None);
        admin.batch_execute("ROLLBACK").ok();
        assert!(!is_superuser(&mut admin, &role), "{statement}");
    }
    eve.run("DROP TRIGGER audit ON users; DROP TRIGGER audit ON keys");
    eve.run("CREATE CONSTRAINT TRIGGER rise AFTER UPDATE ON users DEFERRABLE FOR EACH ROW EXECUTE FUNCTION rise()");
    refused(
        admin.batch_execute(
            "BEGIN; SET CONSTRAINTS ALL DEFERRED; SELECT auth.bump_session_version('1')",
        ),
        "42501",
        None,
    );
    admin.run("ROLLBACK");
    assert!(!is_superuser(&mut admin, &role));
}

#[test]
fn foreign_keys_that_are_checked_at_commit_are_no_obstacle() {
    let (_, mut eve, mut admin) = of_eve("d4");
    admin.run("BEGIN; SET CONSTRAINTS ALL DEFERRED; SELECT auth.bump_session_version('1'); SELECT auth.create_api_key('1', 'x');
               INSERT INTO keys VALUES ('later', 3); INSERT INTO users VALUES (3); COMMIT");
    let id: String = admin.one("SELECT id FROM auth.create_api_key('2', 'x')", &[]);
    assert!(admin.one::<bool>("SELECT auth.revoke_api_key($1)", &[&id]));
    eve.run("SELECT 1");
}

#[test]
fn a_table_that_is_swapped_in_has_no_version_below_what_the_history_says() {
    let app = App::new(shared(), "swapped");
    let mut a = app.connect();
    let ended = a.issue("41");
    a.run("CREATE TABLE copy AS TABLE users; ALTER TABLE copy ADD PRIMARY KEY (id)");
    a.bump("41");
    let alive = a.issue("41");
    a.run("BEGIN; SELECT auth.detach_users(); ALTER TABLE users RENAME TO old; ALTER TABLE copy RENAME TO users;
           SELECT auth.attach_users('users', bump_on => '{email}'); COMMIT");
    assert_eq!(a.verdict(&ended), "session_version_mismatch");
    assert_eq!(a.verdict(&alive), "valid");
}

#[test]
fn a_table_that_is_attached_in_an_older_snapshot_has_no_version_below_the_history_either() {
    let app = App::new(shared(), "attached");
    let (mut a, mut b) = (app.connect(), app.connect());
    let ended = a.issue("41");
    a.bump("41");
    a.run("SELECT auth.detach_users(); DELETE FROM users WHERE id = 41");
    let begin = "BEGIN ISOLATION LEVEL REPEATABLE READ; SELECT count(*) FROM users";
    let attach = "SELECT auth.attach_users('users', bump_on => '{email}')";
    b.run(begin);
    a.run("INSERT INTO users (id) VALUES (41)");
    refused(b.batch_execute(attach), "40001", None);
    b.run("ROLLBACK");
    // Whoever retries succeeds.
    b.run(begin);
    b.run(attach);
    b.run("COMMIT");
    assert_eq!(a.verdict(&ended), "session_version_mismatch");
}

#[test]
fn a_bump_is_on_disk_when_it_is_confirmed_whatever_synchronous_commit_says() {
    let cluster = Cluster::with_config(
        "durable",
        &[
            ("fsync", "on"),
            ("wal_writer_delay", "10s"),
            ("synchronous_commit", "off"),
        ],
    );
    let app = App::new(&cluster, "durable");
    let mut a = app.connect();
    let token = a.issue("41");
    a.run("CREATE TABLE canary (n int); CHECKPOINT");
    let flushed = |a: &mut Client| -> bool {
        a.one(
            "SELECT pg_current_wal_flush_lsn() >= pg_current_wal_insert_lsn() - 0::numeric",
            &[],
        )
    };
    a.bump("41");
    assert!(flushed(&mut a), "flushed with its commit");
    cluster.kill_9();
    cluster.launch();
    let mut b = app.connect();
    assert_eq!(b.verdict(&token), "session_version_mismatch");
    b.run("SET auth_ext.synchronous_commit = off");
    b.bump("41");
    assert!(!flushed(&mut b), "as synchronous_commit says");
}
