//! Odd things done to users rows: none brings an old token back to life, and none ends a session by accident.

use auth_ext_tests::{App, Ask, Client, Listener, Value, database_with_key, json, refused, shared};

/// A database with `table`, attached, in which `rows` are inserted.
fn attached(name: &str, table: &str, rows: &str) -> (Client, Listener) {
    let db = database_with_key(shared(), name);
    let mut admin = shared().connect(&db);
    admin.run(table);
    admin.run("SELECT auth.attach_users('users')");
    admin.run(rows);
    let listener = Listener::on(shared().connect(&db), "auth_invalidation");
    (admin, listener)
}

fn user(id: &str, session_version: i64, reason: &str) -> Value {
    json!({"v": 1, "kind": "user", "id": id, "session_version": session_version, "reason": reason})
}

const PLAIN: &str = "CREATE TABLE users (id text PRIMARY KEY)";

/// Its ids are unique in a region only.
const BY_REGION: &str =
    "CREATE TABLE users (id text, region text DEFAULT 'eu', PRIMARY KEY (id, region)) PARTITION BY LIST (region);
     CREATE TABLE eu PARTITION OF users FOR VALUES IN ('eu');
     CREATE TABLE us PARTITION OF users FOR VALUES IN ('us')";

#[test]
fn an_id_that_changes_across_partitions_leaves_none_of_its_tokens_behind() {
    let (mut a, _) = attached(
        "id_moves",
        "CREATE TABLE users (id text PRIMARY KEY) PARTITION BY RANGE (id);
         CREATE TABLE low PARTITION OF users FOR VALUES FROM ('a') TO ('m');
         CREATE TABLE high PARTITION OF users FOR VALUES FROM ('m') TO ('zz')",
        "INSERT INTO users VALUES ('ada'), ('bob')",
    );
    let (ada, bob) = (a.issue("ada"), a.issue("bob"));
    assert_eq!(a.bump("ada"), 1);
    a.run("UPDATE users SET id = 'zoe' WHERE id = 'ada'; UPDATE users SET id = 'zac' WHERE id = 'bob'");
    assert_eq!(a.verdict(&ada), "unknown_user");
    a.run("INSERT INTO users VALUES ('ada'), ('bob')");
    assert_eq!(a.verdict(&ada), "session_version_mismatch");
    assert_eq!(a.verdict(&bob), "session_version_mismatch");
    // In one transaction, and there and back again.
    let ada = a.issue("ada");
    a.run("BEGIN; UPDATE users SET id = 'zed' WHERE id = 'ada'; INSERT INTO users VALUES ('ada'); COMMIT");
    assert_eq!(a.verdict(&ada), "session_version_mismatch");
    let bob = a.issue("bob");
    a.run("UPDATE users SET id = 'zia' WHERE id = 'bob'; UPDATE users SET id = 'bob' WHERE id = 'zia'");
    assert_eq!(a.verdict(&bob), "session_version_mismatch");
}

#[test]
fn deleted_in_bulk_users_stay_dead_when_the_table_is_attached_anew() {
    let again = "SELECT auth.detach_users(), auth.attach_users('users')";
    let insert = "INSERT INTO users SELECT 'u' || n FROM generate_series(1, 5) AS n";
    for steps in [
        format!("DELETE FROM users; {again}; {insert}"),
        format!("BEGIN; DELETE FROM users; {again}; {insert}; COMMIT"),
        format!("BEGIN; DELETE FROM users; {again}; COMMIT; {insert}"),
        format!(
            "BEGIN; DELETE FROM users; SELECT auth.detach_users(); COMMIT; SELECT auth.attach_users('users'); {insert}"
        ),
        format!("TRUNCATE users; {again}; {insert}"),
        format!("BEGIN; TRUNCATE users; {again}; {insert}; COMMIT"),
    ] {
        println!("--- {steps}");
        let (mut a, _) = attached("bulk", PLAIN, insert);
        let tokens: Vec<_> = (1..=5).map(|n| a.issue(&format!("u{n}"))).collect();
        a.bump("u5");
        a.run("SET auth_ext.bulk_threshold = 2");
        // Each of them a statement of its own, as in an ordinary session.
        steps.split("; ").for_each(|step| a.run(step));
        for token in &tokens {
            assert_eq!(a.verdict(token), "session_version_mismatch");
        }
    }
}

#[test]
fn of_two_rows_that_share_an_id_the_one_that_stays_is_no_refuge_for_old_tokens() {
    for (gone, left) in [("eu", "us"), ("us", "eu")] {
        let (mut a, _) = attached("twins", BY_REGION, "INSERT INTO users VALUES ('ada', 'eu')");
        let token = a.issue("ada");
        a.run("INSERT INTO users VALUES ('ada', 'us')");
        assert_eq!(a.verdict(&token), "unknown_user", "while there are two");
        a.run(&format!("DELETE FROM users WHERE region = '{gone}'"));
        assert_eq!(a.verdict(&token), "session_version_mismatch");
        let version = format!("SELECT session_version FROM users WHERE region = '{left}'");
        assert_eq!(a.one::<i64>(&version, &[]), 1);
        // One that was bumped while it was alone.
        let token = a.issue("ada");
        assert_eq!(a.bump("ada"), 2);
        a.run(&format!(
            "INSERT INTO users VALUES ('ada', '{gone}'); DELETE FROM users WHERE region = '{left}'"
        ));
        assert_eq!(a.verdict(&token), "session_version_mismatch");
    }
}

#[test]
fn a_generated_active_column_ends_the_sessions_of_whom_it_deactivates() {
    let (mut a, mut listener) = attached(
        "generated",
        "CREATE TABLE users (id text PRIMARY KEY, gone timestamptz,
             is_active boolean GENERATED ALWAYS AS (gone IS NULL) STORED)",
        "INSERT INTO users VALUES ('ada', NULL), ('bob', now())",
    );
    let token = a.issue("ada");
    refused(
        a.query("SELECT auth.issue_jwt('bob')", &[]),
        "28000",
        "inactive_user",
    );
    a.run("UPDATE users SET gone = now() WHERE id = 'ada'");
    assert_eq!(a.verdict(&token), "inactive_user");
    assert_eq!(a.version("ada"), Some(1));
    assert_eq!(listener.events(), [user("ada", 1, "deactivated")]);
    a.run("UPDATE users SET gone = NULL WHERE id = 'ada'");
    assert_eq!(a.verdict(&token), "session_version_mismatch");
    assert_eq!(listener.events(), [user("ada", 1, "activated")]);
}

#[test]
fn a_virtual_active_column_is_refused_as_no_trigger_would_see_it_change() {
    let app = App::new(shared(), "virtual");
    let mut a = app.connect();
    let virtual_column = "CREATE TABLE people (id text PRIMARY KEY, gone timestamptz,
                              is_active boolean GENERATED ALWAYS AS (gone IS NULL) VIRTUAL)";
    if a.one::<i32>(
        "SELECT current_setting('server_version_num')::int / 10000",
        &[],
    ) < 18
    {
        // There is none.
        refused(a.batch_execute(virtual_column), "42601", None);
        return;
    }
    a.run(virtual_column);
    a.run("SELECT auth.detach_users()");
    let attach = "SELECT auth.attach_users('people')";
    refused(a.batch_execute(attach), "22023", None);
    // Nor may it take the place of another.
    a.run("ALTER TABLE people RENAME is_active TO is_virtual; ALTER TABLE people ADD is_active boolean DEFAULT true");
    a.run(attach);
    a.run("ALTER TABLE people RENAME is_active TO was; ALTER TABLE people RENAME is_virtual TO is_active");
    refused(
        a.query("SELECT auth.bump_session_version('x')", &[]),
        "55000",
        None,
    );
}

#[test]
fn an_active_column_that_is_no_boolean_is_refused_not_passed_over() {
    let db = database_with_key(shared(), "smallint");
    let mut a = shared().connect(&db);
    a.run("CREATE TABLE users (id text PRIMARY KEY, is_active smallint NOT NULL DEFAULT 1)");
    for sql in [
        "SELECT auth.attach_users('users')",
        "SELECT auth.attach_users('users', active_column => 'is_active')",
    ] {
        refused(a.query(sql, &[]), "22023", None);
    }
}

#[test]
fn ids_that_a_collation_takes_for_the_same_one_are_refused() {
    let db = database_with_key(shared(), "collation");
    let mut a = shared().connect(&db);
    // One of them is there in any server; initdb adds the many where it was built with ICU.
    let icu = "SELECT count(*) > 9 FROM pg_collation WHERE collprovider = 'i'";
    if !a.one::<bool>(icu, &[]) {
        println!("skipped: this server was built without ICU");
        return;
    }
    a.run(
        "CREATE COLLATION ci (provider = icu, locale = 'und-u-ks-level2', deterministic = false);
         CREATE DOMAIN ci_text AS text COLLATE ci;
         CREATE TABLE users (id text COLLATE ci PRIMARY KEY, short varchar(9) COLLATE ci, d ci_text, fine text)",
    );
    for column in ["id", "short", "d"] {
        let sql = format!("SELECT auth.attach_users('users', '{column}')");
        refused(a.query(&sql, &[]), "22023", None);
    }
    a.run("SELECT auth.attach_users('users', 'fine'); SELECT auth.detach_users()");
    // Nor does an index of another collation than its column's find the wrong user.
    a.run(
        "DROP TABLE users; CREATE TABLE users (id text NOT NULL); CREATE UNIQUE INDEX ON users (id COLLATE ci);
         INSERT INTO users VALUES ('ada'); SELECT auth.attach_users('users')",
    );
    assert_eq!(a.version("ada"), Some(0));
    assert_eq!(a.version("ADA"), None);
}

#[test]
fn rows_of_an_inheritance_child_are_no_users() {
    let (mut a, _) = attached(
        "child",
        "CREATE TABLE users (id text PRIMARY KEY); CREATE TABLE child () INHERITS (users)",
        "INSERT INTO users VALUES ('ada'); INSERT INTO child VALUES ('kid'), ('ada')",
    );
    assert_eq!(a.version("kid"), None);
    let issued = "SELECT auth.issue_jwt('kid', 0)";
    let token: String = a.one(issued, &[]);
    assert_eq!(a.verdict(&token), "unknown_user");
    refused(
        a.query("SELECT auth.bump_session_version('kid')", &[]),
        "28000",
        "unknown_user",
    );
    refused(
        a.query("SELECT auth.issue_jwt('kid')", &[]),
        "28000",
        "unknown_user",
    );
    // Nor do they stand in the way of one.
    let token = a.issue("ada");
    assert_eq!(a.verdict(&token), "valid");
    assert_eq!(a.bump("ada"), 1);
    let child = "SELECT sum(session_version)::bigint FROM child";
    assert_eq!(a.one::<i64>(child, &[]), 0);
}

#[test]
fn a_move_that_the_other_partition_refuses_is_a_deletion() {
    let (mut a, mut listener) = attached(
        "refuses",
        BY_REGION,
        "INSERT INTO users VALUES ('ada'), ('bob')",
    );
    let token = a.issue("ada");
    assert_eq!(a.bump("ada"), 1);
    a.run(
        "CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RETURN NULL; END $$;
         CREATE TRIGGER refuse BEFORE INSERT ON us FOR EACH ROW EXECUTE FUNCTION refuse()",
    );
    listener.events();
    a.run("UPDATE users SET region = 'us' WHERE id = 'ada'");
    assert_eq!(a.verdict(&token), "unknown_user");
    assert_eq!(listener.events(), [user("ada", 2, "deleted")]);
    let bob = a.issue("bob");
    a.run("BEGIN; UPDATE users SET region = 'us' WHERE id = 'bob'; INSERT INTO users VALUES ('bob'); COMMIT");
    a.run("DROP TRIGGER refuse ON us; INSERT INTO users VALUES ('ada')");
    assert_eq!(a.verdict(&token), "session_version_mismatch");
    assert_eq!(a.verdict(&bob), "session_version_mismatch");
    assert_eq!(a.version("ada"), Some(2));
}

#[test]
fn a_move_that_a_trigger_audits_is_no_logout() {
    let (mut a, mut listener) = attached(
        "audited",
        BY_REGION,
        "INSERT INTO users VALUES ('ada'), ('bob')",
    );
    a.run(
        "CREATE TABLE audit (id text);
         CREATE FUNCTION audit() RETURNS trigger LANGUAGE plpgsql AS
             $$ BEGIN INSERT INTO audit VALUES (OLD.id); RETURN OLD; END $$;
         CREATE TRIGGER audit BEFORE DELETE ON users FOR EACH ROW EXECUTE FUNCTION audit()",
    );
    let (ada, bob) = (a.issue("ada"), a.issue("bob"));
    a.run("UPDATE users SET region = 'us' WHERE id = 'ada'");
    assert_eq!(a.verdict(&ada), "valid");
    a.run("UPDATE users SET region = CASE region WHEN 'us' THEN 'eu' ELSE 'us' END");
    assert_eq!(a.verdict(&ada), "valid");
    assert_eq!(a.verdict(&bob), "valid");
    assert_eq!(listener.events(), Vec::<Value>::new());
    assert_eq!(
        a.one::<i64>("SELECT count(*) FROM audit", &[]),
        3,
        "the audit ran"
    );
    // A real deletion is one.
    a.run("DELETE FROM users WHERE id = 'ada'; INSERT INTO users VALUES ('ada')");
    assert_eq!(a.verdict(&ada), "session_version_mismatch");
}

#[test]
fn an_id_too_long_for_an_index_can_be_bumped_and_deleted_like_any_other() {
    let (mut a, mut listener) = attached(
        "long",
        "CREATE TABLE users (id text)",
        // Random, so that it is not compressed.
        "INSERT INTO users SELECT string_agg(md5(n::text), '') FROM generate_series(1, 300) AS n",
    );
    let id: String = a.one("SELECT id FROM users", &[]);
    assert_eq!(id.len(), 9600);
    let token = a.issue(&id);
    assert_eq!(a.verdict(&token), "valid");
    assert_eq!(a.bump(&id), 1);
    assert_eq!(a.verdict(&token), "session_version_mismatch");
    let token = a.issue(&id);
    assert_eq!(listener.events(), [json!({"v": 1, "kind": "flush"})]);
    a.run("DELETE FROM users");
    assert_eq!(a.verdict(&token), "unknown_user");
    a.rows("INSERT INTO users VALUES ($1)", &[&id]);
    assert_eq!(a.verdict(&token), "session_version_mismatch");
    // Another one that begins alike is another user.
    a.rows("INSERT INTO users VALUES ($1::text || 'x')", &[&id]);
    assert_eq!(a.version(&format!("{id}x")), Some(0));
}

#[test]
fn a_bump_inside_a_bump_has_its_own_reason_and_leaves_the_outer_ones() {
    let (mut a, mut listener) =
        attached("nested", PLAIN, "INSERT INTO users VALUES ('ada'), ('bob')");
    a.run(
        "CREATE FUNCTION also() RETURNS trigger LANGUAGE plpgsql AS $$
         BEGIN
             IF NEW.id = 'ada' THEN PERFORM auth.bump_session_version('bob', 'inner'); END IF;
             RETURN NULL;
         END $$;
         CREATE TRIGGER also AFTER UPDATE ON users FOR EACH ROW EXECUTE FUNCTION also()",
    );
    a.run("SELECT auth.bump_session_version('ada', 'outer')");
    assert_eq!(
        listener.events(),
        [user("bob", 1, "inner"), user("ada", 1, "outer")]
    );
    // One that fails, caught inside, leaves it as well.
    a.run(
        "CREATE OR REPLACE FUNCTION also() RETURNS trigger LANGUAGE plpgsql AS $$
         BEGIN
             BEGIN
                 PERFORM auth.bump_session_version('nobody', 'inner');
             EXCEPTION WHEN invalid_authorization_specification THEN NULL;
             END;
             RETURN NULL;
         END $$",
    );
    a.run("SELECT auth.bump_session_version('ada', 'outer')");
    assert_eq!(listener.events(), [user("ada", 2, "outer")]);
}

#[test]
fn a_logout_outlives_a_deletion_that_the_next_insertion_did_not_see() {
    // Nothing makes the insertion wait for the deletion: the row is in another partition, or the key is checked late.
    let late = "CREATE TABLE users (id text PRIMARY KEY DEFERRABLE INITIALLY DEFERRED)";
    for (table, again) in [
        (BY_REGION, "INSERT INTO users VALUES ('ada', 'us')"),
        (late, "INSERT INTO users VALUES ('ada')"),
    ] {
        let db = database_with_key(shared(), "unseen");
        let (mut a, mut b) = (shared().connect(&db), shared().connect(&db));
        a.run(table);
        a.run("SELECT auth.attach_users('users'); INSERT INTO users (id) VALUES ('ada')");
        let token = a.issue("ada");
        assert_eq!(a.bump("ada"), 1);
        a.run("BEGIN; DELETE FROM users");
        b.run("BEGIN");
        b.run(again);
        a.run("COMMIT");
        b.run("COMMIT");
        assert_eq!(a.verdict(&token), "session_version_mismatch");
    }
}

#[test]
fn a_logout_outlives_a_partition_that_is_dropped_and_made_again() {
    let (mut a, _) = attached("dropped", BY_REGION, "INSERT INTO users VALUES ('ada')");
    let token = a.issue("ada");
    assert_eq!(a.bump("ada"), 1);
    a.run(
        "DROP TABLE eu; CREATE TABLE eu PARTITION OF users FOR VALUES IN ('eu');
         INSERT INTO users VALUES ('ada')",
    );
    assert_eq!(a.verdict(&token), "session_version_mismatch");
}
