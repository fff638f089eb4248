//! Other roles: code that they put in the way runs as nobody else, and they reach nothing that is not theirs.

use auth_ext_tests::{Ask, Client, ISSUER, database_with_key, refused, shared};

mod indexes;
mod install;

/// A role of that database, which may log in and create schemas in it.
fn role(admin: &mut Client, db: &str, name: &str) -> String {
    let role = format!("{name}_{db}");
    admin.run(&format!(
        "CREATE ROLE {role} LOGIN; GRANT CREATE ON DATABASE {db} TO {role}"
    ));
    role
}

/// The same, which may also attach tables.
fn owner(admin: &mut Client, db: &str) -> String {
    let role = role(admin, db, "owner");
    admin.run(&format!(
        "GRANT EXECUTE ON FUNCTION auth.attach_users(regclass, name, name, name, name[]), auth.detach_users(),
             auth.bump_session_version(text, text), auth.issue_jwt(text, bigint, interval, jsonb, jsonb, text)
         TO {role}"
    ));
    role
}

#[test]
fn a_function_of_the_callers_search_path_is_not_run_as_the_tables_owner() {
    let db = database_with_key(shared(), "hijack");
    let mut admin = shared().connect(&db);
    let caller = role(&mut admin, &db, "caller");
    admin.run(
        "CREATE SCHEMA prod; GRANT USAGE ON SCHEMA prod TO PUBLIC;
         CREATE FUNCTION prod.cutoff() RETURNS text IMMUTABLE LANGUAGE plpgsql AS
             $$ BEGIN RETURN lower('M'); END $$;
         CREATE TABLE prod.users (id text PRIMARY KEY);
         CREATE INDEX ON prod.users (id) WHERE id < prod.cutoff();
         SELECT auth.attach_users('prod.users');
         INSERT INTO prod.users VALUES ('ada')",
    );
    let token = admin.issue("ada");
    let hijack = "SET search_path = trap, pg_catalog";
    shared().connect_as(&db, &caller).run(
        "CREATE SCHEMA trap; GRANT USAGE ON SCHEMA trap TO PUBLIC;
         CREATE FUNCTION trap.lower(text) RETURNS text LANGUAGE plpgsql AS
             $$ BEGIN RAISE EXCEPTION 'run as %', current_user USING ERRCODE = 'ZZ001'; END $$",
    );
    // The trap works: planning a query on the table runs the function of the index.
    let mut owner = shared().connect(&db);
    owner.run(hijack);
    let query = "SELECT FROM prod.users WHERE id = 'ada'";
    refused(owner.query(query, &[]), "ZZ001", None);

    let mut check = shared().connect_as(&db, &caller);
    check.run(hijack);
    assert_eq!(check.verdict(&token), "valid");
    let mut verify = shared().connect_as(&db, &caller);
    verify.run(hijack);
    let claims = "SELECT auth.verify_jwt($1::text)->>'sub'";
    assert_eq!(verify.one::<String>(claims, &[&token]), "ada");
    // Whoever may bump does not get further either.
    admin.run(&format!(
        "GRANT EXECUTE ON FUNCTION auth.bump_session_version(text, text) TO {caller}"
    ));
    let mut bump = shared().connect_as(&db, &caller);
    bump.run(hijack);
    assert_eq!(bump.bump("ada"), 1);
    assert_eq!(check.verdict(&token), "session_version_mismatch");
}

#[test]
fn an_open_session_follows_the_table_when_its_schema_is_renamed_and_reads_no_impostor() {
    let db = database_with_key(shared(), "renamed");
    let mut admin = shared().connect(&db);
    let stranger = role(&mut admin, &db, "stranger");
    admin.run(
        "CREATE SCHEMA own; CREATE TABLE own.users (id text PRIMARY KEY);
         SELECT auth.attach_users('own.users'); INSERT INTO own.users VALUES ('ada'), ('bob')",
    );
    let mut open = shared().connect_as(&db, &stranger);
    let old = admin.issue("ada");
    assert_eq!(admin.bump("ada"), 1);
    let new = admin.issue("ada");
    assert_eq!(open.verdict(&old), "session_version_mismatch");
    assert_eq!(open.verdict(&new), "valid");

    admin.run("ALTER SCHEMA own RENAME TO elsewhere");
    assert_eq!(open.verdict(&old), "session_version_mismatch");
    assert_eq!(open.verdict(&new), "valid");
    shared().connect_as(&db, &stranger).run(
        "CREATE SCHEMA own; GRANT USAGE ON SCHEMA own TO PUBLIC;
         CREATE VIEW own.users AS SELECT 'ada'::text AS id, 0::bigint AS session_version;
         GRANT ALL ON own.users TO PUBLIC",
    );
    let mut fresh = shared().connect_as(&db, &stranger);
    for session in [&mut open, &mut fresh] {
        assert_eq!(session.verdict(&old), "session_version_mismatch");
        assert_eq!(session.verdict(&new), "valid");
    }
    // Also one that was in the middle of a transaction, and one whose plan is for a bump.
    assert_eq!(admin.bump("ada"), 2);
    assert_eq!(open.verdict(&new), "session_version_mismatch");
    assert_eq!(admin.version("ada"), Some(2));
}

#[test]
fn an_owner_who_is_no_superuser_adds_partitions_which_are_covered_too() {
    let db = database_with_key(shared(), "partition_owner");
    let mut admin = shared().connect(&db);
    let role = owner(&mut admin, &db);
    let mut a = shared().connect_as(&db, &role);
    a.run(
        "CREATE SCHEMA own; CREATE TABLE own.users (id text, region text DEFAULT 'eu', PRIMARY KEY (id, region))
             PARTITION BY LIST (region);
         CREATE TABLE own.eu PARTITION OF own.users FOR VALUES IN ('eu');
         SELECT auth.attach_users('own.users');
         CREATE TABLE own.us PARTITION OF own.users FOR VALUES IN ('us');
         INSERT INTO own.users (id, region) VALUES ('ada', 'us'), ('bob', 'us')",
    );
    let token = a.issue("ada");
    assert_eq!(a.verdict(&token), "valid");
    assert_eq!(a.bump("ada"), 1);
    assert_eq!(a.verdict(&token), "session_version_mismatch");
    a.run("UPDATE own.us SET session_version = 0");
    assert_eq!(a.verdict(&token), "session_version_mismatch");
    a.run("DELETE FROM own.us; INSERT INTO own.users (id, region) VALUES ('ada', 'us')");
    assert_eq!(a.verdict(&token), "session_version_mismatch");
    // One that was a table of its own before.
    a.run(
        "CREATE TABLE own.asia (LIKE own.users INCLUDING ALL);
         ALTER TABLE own.users ATTACH PARTITION own.asia FOR VALUES IN ('asia');
         INSERT INTO own.users (id, region) VALUES ('eve', 'asia')",
    );
    let token = a.issue("eve");
    a.run("DELETE FROM own.asia; INSERT INTO own.asia (id, region) VALUES ('eve', 'asia')");
    assert_eq!(a.verdict(&token), "session_version_mismatch");
}

#[test]
fn settings_that_the_owners_trigger_makes_do_not_stay_in_the_callers_session() {
    let db = database_with_key(shared(), "poison");
    let mut admin = shared().connect(&db);
    let role = owner(&mut admin, &db);
    shared().connect_as(&db, &role).run(
        "CREATE SCHEMA own; CREATE TABLE own.users (id text PRIMARY KEY);
         SELECT auth.attach_users('own.users'); INSERT INTO own.users VALUES ('ada');
         CREATE FUNCTION own.poison() RETURNS trigger LANGUAGE plpgsql AS $$
         BEGIN
             PERFORM set_config('search_path', 'evil, pg_catalog', false), set_config('work_mem', '123kB', false);
             RETURN NEW;
         END $$;
         CREATE TRIGGER aaa BEFORE UPDATE ON own.users FOR EACH ROW EXECUTE FUNCTION own.poison()",
    );
    admin.run("SET search_path = mine, public");
    let settings = "SELECT current_setting('search_path') || ' ' || current_user";
    // At the top, in a transaction, and behind its end.
    assert_eq!(admin.bump("ada"), 1);
    assert_eq!(admin.one::<String>(settings, &[]), "mine, public postgres");
    admin.run("BEGIN");
    assert_eq!(admin.bump("ada"), 2);
    assert_eq!(admin.one::<String>(settings, &[]), "mine, public postgres");
    admin.run("COMMIT");
    assert_eq!(admin.one::<String>(settings, &[]), "mine, public postgres");
    assert_ne!(admin.one::<String>("SHOW work_mem", &[]), "123kB");
}

#[test]
fn an_ordinary_role_cannot_move_the_mark_that_stands_for_all_users() {
    let db = database_with_key(shared(), "floor");
    let mut admin = shared().connect(&db);
    let stranger = role(&mut admin, &db, "stranger");
    admin.run(
        "CREATE TABLE users (id text PRIMARY KEY); SELECT auth.attach_users('users');
         INSERT INTO users SELECT 'u' || n FROM generate_series(1, 5) AS n; GRANT SELECT ON users TO PUBLIC;
         SET auth_ext.bulk_threshold = 2; DELETE FROM users WHERE id <> 'u1'",
    );
    let mark = "SELECT string_agg(f::text, ' ') FROM auth.user_floor AS f";
    let before: String = admin.one(mark, &[]);
    let mut client = shared().connect_as(&db, &stranger);
    client.run("CREATE SCHEMA mine; CREATE TABLE mine.users (id text, session_version bigint)");
    assert_eq!(client.verdict("x"), "malformed", "the extension is loaded");
    for sql in [
        "TRUNCATE users",
        "DELETE FROM users",
        "SET auth_ext.bulk_threshold = 0",
        "SELECT set_config('auth_ext.bulk_threshold', '1', false)",
        "UPDATE auth.user_floor SET next_version = 5",
        "INSERT INTO auth.user_floor VALUES (true, now(), 5)",
        "TRUNCATE auth.user_floor",
        "DELETE FROM auth.user_history",
        "SELECT auth.bump_session_version('u1')",
        "CREATE TRIGGER t BEFORE TRUNCATE ON mine.users FOR EACH STATEMENT EXECUTE FUNCTION auth.users_before_truncate()",
        "CREATE TRIGGER t AFTER DELETE ON mine.users FOR EACH ROW EXECUTE FUNCTION auth.users_after_row()",
    ] {
        refused(client.batch_execute(sql), "42501", None);
    }
    // A table of the same name in a temporary schema is not the one that is meant.
    client.run(
        "CREATE TEMPORARY TABLE users (id text, session_version bigint); INSERT INTO users VALUES ('u1', 9);
         CREATE TEMPORARY TABLE user_floor (singleton boolean, bumped_at timestamptz, next_version bigint);
         DELETE FROM users; TRUNCATE users",
    );
    assert_eq!(admin.one::<String>(mark, &[]), before);
}

#[test]
fn a_former_owner_of_the_users_table_has_no_hand_in_the_next_one() {
    let db = database_with_key(shared(), "former");
    let mut admin = shared().connect(&db);
    let former = owner(&mut admin, &db);
    let mut client = shared().connect_as(&db, &former);
    client.run(
        "CREATE SCHEMA own; CREATE TABLE own.users (id text PRIMARY KEY); SELECT auth.attach_users('own.users');
         SELECT auth.detach_users(); CREATE TABLE own.trap (id text, session_version bigint)",
    );
    admin.run(
        "CREATE TABLE users (id text PRIMARY KEY); SELECT auth.attach_users('users'); INSERT INTO users VALUES ('ada')",
    );
    // Our trigger functions on a table of his own: he may not, or nothing comes of it.
    for (trigger, level) in [
        (
            "AFTER DELETE",
            "ROW EXECUTE FUNCTION auth.users_after_row()",
        ),
        (
            "BEFORE TRUNCATE",
            "STATEMENT EXECUTE FUNCTION auth.users_before_truncate()",
        ),
    ] {
        client
            .batch_execute(&format!(
                "CREATE TRIGGER t{} {trigger} ON own.trap FOR EACH {level}",
                trigger.len()
            ))
            .ok();
    }
    client
        .batch_execute(
            "INSERT INTO own.trap VALUES ('bob', 9223372036854775806), ('eve', 9223372036854775806);
             DELETE FROM own.trap WHERE id = 'bob'; TRUNCATE own.trap",
        )
        .ok();
    admin.run("INSERT INTO users VALUES ('bob'), ('eve')");
    assert_eq!(admin.version("bob"), Some(0));
    assert_eq!(admin.version("eve"), Some(0));
}

#[test]
fn one_bump_among_many_other_events_ends_nobody_elses_sessions() {
    let db = database_with_key(shared(), "among");
    let mut admin = shared().connect(&db);
    admin.run(
        "UPDATE auth.issuers SET session_check = 'issued_at';
         CREATE TABLE users (id text PRIMARY KEY); SELECT auth.attach_users('users');
         INSERT INTO users VALUES ('ada'), ('bob');
         CREATE TABLE keys (id int PRIMARY KEY, user_id text); SELECT auth.attach_api_keys('keys');
         INSERT INTO keys (id, user_id, key_fingerprint) SELECT n, 'ada', n FROM generate_series(1, 3) AS n;
         SET auth_ext.bulk_threshold = 2",
    );
    admin.run("BEGIN; UPDATE keys SET session_version = 1");
    assert_eq!(admin.bump("ada"), 1);
    admin.run("COMMIT");
    let marks = "SELECT count(*) FROM auth.user_floor";
    assert_eq!(admin.one::<i64>(marks, &[]), 0, "a mark for all users");
}

#[test]
fn after_a_rename_of_the_schema_our_tables_are_trusted_and_nobodys_new_ones() {
    let db = database_with_key(shared(), "renamed");
    let mut admin = shared().connect(&db);
    let mallory = role(&mut admin, &db, "mallory");
    admin.run(&format!(
        "CREATE TABLE users (id bigint PRIMARY KEY); INSERT INTO users VALUES (41); SELECT auth.attach_users('users');
         GRANT CREATE ON DATABASE \"{db}\" TO {mallory}; GRANT CREATE ON SCHEMA public TO {mallory}"
    ));
    let token = admin.issue("41");
    let mut open = shared().connect(&db);
    assert_eq!(open.verdict(&token), "valid");
    admin.run("ALTER SCHEMA auth RENAME TO moved; GRANT USAGE ON SCHEMA moved TO PUBLIC");
    let mut m = shared().connect_as(&db, &mallory);
    m.run(
        "CREATE SCHEMA auth;
         CREATE TABLE auth.ran (what text);
         CREATE FUNCTION auth.cover_partitions() RETURNS void LANGUAGE sql AS $$ INSERT INTO auth.ran VALUES ('cover') $$;
         CREATE FUNCTION auth.evil() RETURNS text LANGUAGE plpgsql AS $$ BEGIN INSERT INTO auth.ran VALUES ('view'); RETURN 'x'; END $$;
         CREATE TABLE auth.issuers (issuer text, audience text[], user_claim text DEFAULT 'sub', is_default boolean);
         CREATE TABLE auth.signing_key_store (issuer text, kid text, alg text, public_jwk jsonb, active boolean);
         CREATE FUNCTION auth.authenticate_request(OUT reason text, OUT explanation text) LANGUAGE sql AS $$ INSERT INTO auth.ran VALUES ('request'); SELECT '', '' $$;
         CREATE VIEW auth.attached_tables AS SELECT auth.evil() AS kind, 0::regclass AS relation;
         INSERT INTO auth.issuers (issuer, audience, is_default) VALUES ('https://mallory.example', '{app}', true)",
    );
    m.run("SELECT moved.pre_request()");
    let check = "SELECT CASE WHEN valid THEN 'valid' ELSE reason END FROM moved.check_jwt($1)";
    for client in [&mut open, &mut shared().connect(&db)] {
        assert_eq!(client.one::<String>(check, &[&token]), "valid");
        let issued: String = client.one("SELECT moved.issue_jwt('41')", &[]);
        assert_eq!(client.one::<String>(check, &[&issued]), "valid");
    }
    admin.run("CREATE TABLE somebodys (id int); ALTER TABLE somebodys ADD COLUMN x int");
    admin.run(
        "INSERT INTO moved.issuers (issuer, audience, is_default) VALUES ('second', '{x}', true);
         DELETE FROM moved.issuers WHERE issuer = 'second'; UPDATE moved.issuers SET is_default = true;
         SELECT moved.revoke_jwt(moved.issue_jwt('41')), moved.open_session('41')",
    );
    assert_eq!(
        admin.one::<i64>("SELECT moved.bump_session_version('41')", &[]),
        1
    );
    for client in [&mut open, &mut shared().connect(&db)] {
        assert_eq!(
            client.one::<String>(check, &[&token]),
            "session_version_mismatch"
        );
        let issuers: i64 = client.one("SELECT count(*) FROM moved.issuers", &[]);
        assert_eq!(issuers, 1);
    }
    assert_eq!(admin.one::<i64>("SELECT count(*) FROM auth.ran", &[]), 0);
}

#[test]
fn an_insert_that_inserts_nothing_leaves_the_default_issuer_alone_and_insert_is_all_that_it_takes()
{
    let db = database_with_key(shared(), "default");
    let mut admin = shared().connect(&db);
    let clerk = role(&mut admin, &db, "clerk");
    admin.run(&format!("INSERT INTO auth.issuers (issuer, audience) VALUES ('b', '{{b}}'); GRANT INSERT ON auth.issuers TO {clerk}"));
    let mut c = shared().connect_as(&db, &clerk);
    c.run("INSERT INTO auth.issuers (issuer, audience, is_default) VALUES ('b', '{b}', true) ON CONFLICT DO NOTHING");
    let default = "SELECT issuer FROM auth.issuers WHERE is_default";
    assert_eq!(admin.one::<String>(default, &[]), ISSUER);
    c.run("INSERT INTO auth.issuers (issuer, audience, is_default) VALUES ('c', '{c}', true)");
    assert_eq!(admin.one::<String>(default, &[]), "c");
    admin.run(
        "INSERT INTO auth.issuers (issuer, audience, is_default) VALUES ('b', '{b}', true)
               ON CONFLICT (issuer) DO UPDATE SET is_default = excluded.is_default",
    );
    assert_eq!(admin.one::<String>(default, &[]), "b");
    admin.run("DELETE FROM auth.issuers WHERE issuer = 'b'");
    let error = refused(
        admin.query("SELECT auth.issue_jwt('1')", &[]),
        "55000",
        None,
    );
    assert!(
        error.hint().is_some_and(|hint| hint.contains("is_default")),
        "{error:?}"
    );
}
