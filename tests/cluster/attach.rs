//! Attaching a users table: what is refused, what is added, and what detaching takes away.

use auth_ext_tests::{App, Ask, Client, PARTITIONED, QUOTED, database_with_key, refused, shared};

/// A database without an attached table.
fn bare(name: &str) -> Client {
    shared().connect(&database_with_key(shared(), name))
}

#[test]
fn a_table_that_cannot_be_attached_is_named_with_the_reason() {
    let mut a = bare("wrong");
    a.run(
        "CREATE TABLE users (id int, other text, bad timestamptz, version text, flag int, gen bigint GENERATED ALWAYS AS (1) STORED, tid uuid);
         CREATE VIEW seen AS TABLE users;
         CREATE MATERIALIZED VIEW kept AS TABLE users;
         CREATE TEMP TABLE passing (id int);
         CREATE SEQUENCE counter;
         CREATE INDEX by_id ON users (id);
         CREATE TABLE parts (id int) PARTITION BY RANGE (id);
         CREATE TABLE part PARTITION OF parts DEFAULT;
         CREATE FOREIGN DATA WRAPPER w; CREATE SERVER s FOREIGN DATA WRAPPER w;
         CREATE FOREIGN TABLE far (id int) SERVER s",
    );
    for wrong in [
        "NULL",
        "0",
        "4294967295",
        "'seen'",
        "'kept'",
        "'passing'",
        "'counter'",
        "'by_id'",
        "'part'",
        "'far'",
        "'pg_class'",
        "'auth.issuers'",
        "'users', 'none'",
        "'users', 'bad'",
        "'users', 'gen'",
        "'users', 'ctid'",
        "'users', 'xmin'",
        "'users', version_column => 'version'",
        "'users', version_column => 'gen'",
        "'users', version_column => 'id'",
        "'users', version_column => 'ctid'",
        "'users', active_column => 'none'",
        "'users', active_column => 'flag'",
        "'users', bump_on => '{none}'",
        "'users', bump_on => '{other,NULL}'",
        "'users', bump_on => '{gen}'",
        "'users', bump_on => '{id}'",
        "'users', bump_on => '{session_version}'",
        "'users', bump_on => '{ctid}'",
    ] {
        let sql = format!("SELECT auth.attach_users({wrong})");
        let result = a.batch_execute(&sql);
        assert!(result.is_err(), "accepted: {sql}");
        refused(result, "22023", None);
    }
    let left: i64 = a.one(
        "SELECT (SELECT count(*) FROM pg_trigger WHERE tgname ~ 'auth_ext') + (SELECT count(*) FROM auth.attached_tables)
              + (SELECT count(*) FROM pg_attribute WHERE attrelid = 'users'::regclass AND attname = 'session_version')",
        &[],
    );
    assert_eq!(left, 0, "what a refused attachment has left");
}

#[test]
fn only_the_owner_of_the_table_attaches_and_detaches_it() {
    let app = App::new(shared(), "owner");
    let (owner, other) = (format!("o_{}", app.db), format!("x_{}", app.db));
    app.connect().run(&format!(
        "SELECT auth.detach_users();
         CREATE ROLE {owner} LOGIN; CREATE ROLE {other} LOGIN; ALTER TABLE users OWNER TO {owner};
         GRANT ALL ON users TO {other}; GRANT EXECUTE ON ALL FUNCTIONS IN SCHEMA auth TO {owner}, {other}"
    ));
    let mut owner = shared().connect_as(&app.db, &owner);
    let mut other = shared().connect_as(&app.db, &other);
    let attach = "SELECT auth.attach_users('users')";
    refused(other.batch_execute(attach), "42501", None);
    owner.run(attach);
    let detach = "SELECT auth.detach_users()";
    refused(other.batch_execute(detach), "42501", None);
    refused(other.batch_execute(attach), "42501", None);
    let token = owner.issue("41");
    owner
        .run("UPDATE users SET is_active = false WHERE id = 41; UPDATE users SET is_active = true");
    assert_eq!(owner.verdict(&token), "session_version_mismatch");
    owner.run(detach);
    owner.run("DROP TABLE users");
}

#[test]
fn one_users_table_a_database() {
    let app = App::new(shared(), "second");
    let mut a = app.connect();
    a.run("CREATE TABLE members (id int)");
    let error = refused(
        a.batch_execute("SELECT auth.attach_users('members')"),
        "22023",
        None,
    );
    assert!(error.message().contains("users"), "{error:?}");
    a.run("SELECT auth.detach_users(); SELECT auth.attach_users('members'); INSERT INTO members VALUES (41)");
    let token = a.issue("41");
    // The former table is nobody's users table any more.
    a.run("UPDATE users SET email = 'x'; DELETE FROM users");
    assert_eq!(a.verdict(&token), "valid");
}

#[test]
fn two_sessions_that_attach_different_tables_at_once_leave_one() {
    let db = database_with_key(shared(), "at_once");
    let (mut a, mut b) = (shared().connect(&db), shared().connect(&db));
    a.run("CREATE TABLE one (id int); CREATE TABLE two (id int)");
    a.run("BEGIN; SELECT auth.attach_users('one')");
    let second = std::thread::scope(|scope| {
        let second = scope.spawn(|| b.batch_execute("SELECT auth.attach_users('two')"));
        std::thread::sleep(std::time::Duration::from_millis(100));
        a.run("COMMIT");
        second.join().unwrap()
    });
    refused(second, "22023", None);
}

#[test]
fn the_version_column_is_added_without_a_rewrite_and_an_existing_one_is_kept() {
    for app in App::of_every_shape(shared(), "added") {
        let mut a = app.connect();
        a.run(&app.sql("SELECT auth.detach_users(); ALTER TABLE {users} DROP COLUMN {version}"));
        let files = app.sql(
            "SELECT string_agg(pg_relation_filenode(relid)::text, ' ' ORDER BY relid) FROM pg_partition_tree('{users}')",
        );
        let files = if app.sql("{users}") == "users" {
            files
        } else {
            app.sql("SELECT pg_relation_filenode('{users}')::text")
        };
        let before: Option<String> = a.one(&files, &[]);
        app.attach(&mut a);
        assert_eq!(a.one::<Option<String>>(&files, &[]), before);
        assert_eq!(a.version(app.ada), Some(0));
        a.bump(app.ada);
        app.attach(&mut a);
        assert_eq!(a.version(app.ada), Some(1));
        let default: String = a.one(
            "SELECT format_type(atttypid, atttypmod) || ' ' || attnotnull FROM pg_attribute
             WHERE attrelid = (SELECT relation FROM auth.attached_tables)
               AND attname = (SELECT version_column FROM auth.attached_tables)",
            &[],
        );
        assert_eq!(default, "bigint true");
    }
}

#[test]
fn attached_again_with_other_options_only_the_new_ones_count() {
    let app = App::new(shared(), "other_options");
    let mut a = app.connect();
    let token = a.issue(app.ada);
    a.run("SELECT auth.attach_users('users', bump_on => '{note}')");
    a.run("UPDATE users SET email = 'x'");
    assert_eq!(a.verdict(&token), "valid");
    a.run("UPDATE users SET note = 'x' WHERE id = 41");
    assert_eq!(a.version(app.ada), Some(1));
    let triggers = "SELECT count(*) FROM pg_trigger WHERE tgrelid = 'users'::regclass";
    let before: i64 = a.one(triggers, &[]);
    a.run("SELECT auth.attach_users('users', bump_on => '{note}')");
    assert_eq!(a.one::<i64>(triggers, &[]), before);
}

#[test]
fn detached_the_table_keeps_its_columns_and_data_and_has_no_trigger() {
    for app in App::of_every_shape(shared(), "detached") {
        let mut a = app.connect();
        a.bump(app.ada);
        let token = a.issue(app.ada);
        a.run("SELECT auth.detach_users()");
        let triggers = "SELECT count(*) FROM pg_trigger t JOIN pg_proc p ON p.oid = t.tgfoid
                        WHERE p.pronamespace = 'auth'::regnamespace AND p.proname ~ '^users_'";
        assert_eq!(a.one::<i64>(triggers, &[]), 0);
        let version = app.sql("SELECT {version}::bigint FROM {users} WHERE {id} = {ada}");
        assert_eq!(a.one::<i64>(&version, &[]), 1);
        a.run(&app.sql("UPDATE {users} SET {email} = 'x', {version} = 0 WHERE {id} = {ada}; DELETE FROM {users} WHERE {id} = {bob}; TRUNCATE {users}"));
        let error = refused(
            a.query("SELECT auth.verify_jwt($1)", &[&token]),
            "55000",
            None,
        );
        assert!(
            error
                .hint()
                .is_some_and(|hint| hint.contains("auth.attach_users"))
        );
        a.run("SELECT auth.detach_users()");
    }
}

#[test]
fn without_a_table_every_function_says_what_to_call() {
    let mut a = bare("none");
    a.run("UPDATE auth.issuers SET session_check = 'none'");
    let token = a.issue("s");
    a.run("UPDATE auth.issuers SET session_check = 'version'");
    for sql in [
        "SELECT auth.issue_jwt('41')".to_owned(),
        "SELECT auth.session_version('41')".to_owned(),
        "SELECT auth.bump_session_version('41')".to_owned(),
        format!("SELECT auth.verify_jwt('{token}')"),
    ] {
        let error = refused(a.batch_execute(&sql), "55000", None);
        let hint = error.hint().unwrap_or_default();
        assert!(hint.contains("auth.attach_users"), "{sql}: {hint:?}");
    }
}

#[test]
fn an_attachment_that_is_rolled_back_did_not_happen() {
    let db = database_with_key(shared(), "undone");
    let (mut a, mut b) = (shared().connect(&db), shared().connect(&db));
    a.run("CREATE TABLE users (id int); INSERT INTO users VALUES (41)");
    a.run("BEGIN; SELECT auth.attach_users('users')");
    let token = a.issue("41");
    assert_eq!(a.verdict(&token), "valid");
    a.run("ROLLBACK");
    refused(
        a.query("SELECT auth.session_version('41')", &[]),
        "55000",
        None,
    );
    a.run("SELECT auth.attach_users('users')");
    assert_eq!(b.verdict(&token), "valid");
    a.run("BEGIN; SELECT auth.detach_users(); ROLLBACK");
    assert_eq!(a.verdict(&token), "valid");
    assert_eq!(b.verdict(&token), "valid");
}

#[test]
fn a_sub_partition_is_covered_as_well() {
    let app = App::of_shape(shared(), "sub", &PARTITIONED);
    let mut a = app.connect();
    a.run(
        "CREATE TABLE users_asia PARTITION OF users FOR VALUES IN ('asia') PARTITION BY RANGE (id);
         CREATE TABLE users_asia_low PARTITION OF users_asia FOR VALUES FROM (MINVALUE) TO (42);
         CREATE TABLE users_asia_high PARTITION OF users_asia FOR VALUES FROM (42) TO (MAXVALUE);
         UPDATE users SET region = 'asia'",
    );
    let (ada, bob) = (a.issue(app.ada), a.issue(app.bob));
    a.run("UPDATE users SET is_active = false WHERE id = 41; UPDATE users SET is_active = true WHERE id = 41");
    assert_eq!(a.verdict(&ada), "session_version_mismatch");
    assert_eq!(a.verdict(&bob), "valid");
    app.attach(&mut a);
    a.run("TRUNCATE users_asia_high; INSERT INTO users (id, region) VALUES (42, 'asia')");
    assert_eq!(a.verdict(&bob), "session_version_mismatch");
    a.run("SELECT auth.detach_users(); SELECT auth.attach_users('users')");
}

#[test]
fn a_customary_column_of_another_type_is_refused_until_one_is_named() {
    let mut a = bare("customary");
    a.run(
        "CREATE TABLE users (id int, is_active text, ok boolean DEFAULT true, session_version integer);
         INSERT INTO users VALUES (41, 'no')",
    );
    let attach = "SELECT auth.attach_users('users')";
    refused(a.batch_execute(attach), "22023", None);
    a.run("SELECT auth.attach_users('users', active_column => 'ok')");
    // A NULL version is version 0.
    let token = a.issue("41");
    assert_eq!(a.verdict(&token), "valid");
    assert_eq!(a.bump("41"), 1);
    assert_eq!(a.verdict(&token), "session_version_mismatch");
    a.run("UPDATE users SET ok = false");
    assert_eq!(a.verdict(&token), "inactive_user");
    assert_eq!(a.version("41"), Some(2));
}

#[test]
fn a_bump_column_may_have_any_type() {
    let mut a = bare("any_type");
    a.run(
        "CREATE TYPE pair AS (a int, b text); CREATE DOMAIN mail AS text;
         CREATE TABLE users (id int, j json, x xml, p point, c pair, m mail, a text[], b bytea);
         SELECT auth.attach_users('users', bump_on => '{j,p,c,m,a,b}');
         INSERT INTO users (id) VALUES (41)",
    );
    for (n, set) in [
        "j = '{}'",
        "p = '(1,2)'",
        "c = '(1,x)'",
        "m = 'x'",
        "a = '{x}'",
        "b = 'x'",
        "m = NULL",
    ]
    .iter()
    .enumerate()
    {
        a.run(&format!("UPDATE users SET {set}; UPDATE users SET {set}"));
        assert_eq!(a.version("41"), i64::try_from(n + 1).ok(), "{set}");
    }
}

#[test]
fn quoted_names_appear_nowhere_as_code() {
    let app = App::of_shape(shared(), "quoted", &QUOTED);
    let mut a = app.connect();
    a.run(
        r#"SELECT auth.detach_users();
         CREATE SCHEMA "s'; DROP TABLE x; --";
         CREATE TABLE "s'; DROP TABLE x; --"."t"") ; --" ("i' OR true" int, "a"" b" boolean DEFAULT true, "$1" text);
         INSERT INTO "s'; DROP TABLE x; --"."t"") ; --" ("i' OR true") VALUES (41)"#,
    );
    a.run(
        r#"SELECT auth.attach_users('"s''; DROP TABLE x; --"."t"") ; --"', 'i'' OR true', 'v"%s', 'a" b', array['$1']::name[])"#,
    );
    let token = a.issue("41");
    assert_eq!(a.verdict(&token), "valid");
    a.run(r#"UPDATE "s'; DROP TABLE x; --"."t"") ; --" SET "$1" = 'x'"#);
    assert_eq!(a.verdict(&token), "session_version_mismatch");
    a.run(r#"TRUNCATE "s'; DROP TABLE x; --"."t"") ; --""#);
}
