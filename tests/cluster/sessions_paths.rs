//! The version is right whatever path a change took, and whoever made it.

use auth_ext_tests::{
    App, Ask, Cluster, Listener, PARTITIONED, assert_reason, json, refused, shared,
};

#[test]
fn every_path_of_a_watched_change_raises_the_version_by_one() {
    for app in App::of_every_shape(shared(), "paths") {
        let mut a = app.connect();
        a.run(&app.sql(
            "CREATE FUNCTION rename(e text) RETURNS void LANGUAGE sql AS
                 $$ UPDATE {users} SET {email} = e WHERE {id} = {ada} $$;
             CREATE VIEW seen AS SELECT {id} AS id, {email} AS email FROM {users};
             CREATE TABLE news AS SELECT {id} AS id, 'from news' AS email FROM {users} WHERE {id} = {ada}",
        ));
        let paths = [
            "UPDATE {users} SET {id} = {ada}, {email} = 'orm', note = 'x', region = region, {active} = true, {version} = {version} WHERE {id} = {ada}",
            "SELECT rename('function')",
            "UPDATE seen SET email = 'view' WHERE id = {ada}",
            "UPDATE {users} u SET {email} = n.email FROM news n WHERE u.{id} = n.id",
            "MERGE INTO {users} u USING news n ON u.{id} = n.id WHEN MATCHED THEN UPDATE SET {email} = 'merge'",
            "SET session_replication_role = replica; UPDATE {users} SET {email} = 'replica' WHERE {id} = {ada}; RESET session_replication_role",
            "DO $$ BEGIN UPDATE {users} SET {email} = 'do' WHERE {id} = {ada}; END $$",
            "UPDATE {users} SET {email} = NULL WHERE {id} = {ada}",
            "WITH changed AS (UPDATE {users} SET {email} = 'cte' WHERE {id} = {ada} RETURNING 1) SELECT count(*) FROM changed",
            "PREPARE p AS UPDATE {users} SET {email} = $1 WHERE {id} = {ada}; EXECUTE p('prepared'); DEALLOCATE p",
        ];
        for path in paths {
            let token = a.issue(app.ada);
            let version = a.version(app.ada).unwrap();
            a.run(&app.sql(path));
            assert_eq!(a.verdict(&token), "session_version_mismatch", "{path}");
            assert_eq!(a.version(app.ada), Some(version + 1), "{path}");
        }
        assert_eq!(a.version(app.bob), Some(0), "the bystander");
    }
}

#[test]
fn on_conflict_do_update_raises_the_version_too() {
    for app in App::of_every_shape(shared(), "conflict") {
        let mut a = app.connect();
        let token = a.issue(app.ada);
        let key: String = a.one(
            "SELECT string_agg(format('%I', attname), ', ' ORDER BY attname) FROM pg_index, pg_attribute
             WHERE indrelid = (SELECT relation FROM auth.attached_tables) AND attrelid = indrelid
               AND attnum = ANY (indkey)",
            &[],
        );
        let upsert = app.sql(
            "INSERT INTO {users} ({id}, {email}) VALUES ({ada}, 'upsert') ON CONFLICT (KEY)
             DO UPDATE SET {email} = excluded.{email}, {version} = excluded.{version}",
        );
        a.run(&upsert.replace("KEY", &key));
        assert_eq!(a.verdict(&token), "session_version_mismatch");
        assert_eq!(a.version(app.ada), Some(1));
        // The same again changes nothing.
        a.run(&upsert.replace("KEY", &key));
        assert_eq!(a.version(app.ada), Some(1));
    }
}

#[test]
fn copy_of_a_deleted_users_row_does_not_revive_the_tokens() {
    for app in App::of_every_shape(shared(), "copy") {
        let mut a = app.connect();
        let token = a.issue(app.bob);
        let select = app.sql("SELECT {id}, {version} FROM {users} WHERE {id} = {bob}");
        let row = {
            let mut out = a.copy_out(&format!("COPY ({select}) TO STDOUT")).unwrap();
            let mut row = String::new();
            std::io::Read::read_to_string(&mut out, &mut row).unwrap();
            row
        };
        a.run(&app.sql("DELETE FROM {users} WHERE {id} = {bob}"));
        let mut copy = a
            .copy_in(&app.sql("COPY {users} ({id}, {version}) FROM STDIN"))
            .unwrap();
        std::io::Write::write_all(&mut copy, row.as_bytes()).unwrap();
        assert_eq!(copy.finish().unwrap(), 1);
        assert_eq!(a.verdict(&token), "session_version_mismatch");
    }
}

#[test]
fn the_version_never_goes_down_whatever_the_update_says() {
    for app in App::of_every_shape(shared(), "never_down") {
        let mut a = app.connect();
        a.run(&app.sql("UPDATE {users} SET {version} = 7 WHERE {id} = {ada}"));
        assert_eq!(a.version(app.ada), Some(7));
        let token = a.issue(app.ada);
        for lower in ["6", "0", "-1", "-2147483648", "{version} - 1"] {
            a.run(&app.sql(&format!(
                "UPDATE {{users}} SET {{version}} = {lower} WHERE {{id}} = {{ada}}"
            )));
            assert_eq!(a.version(app.ada), Some(7), "{lower}");
            a.run(&app.sql(&format!(
                "SET session_replication_role = replica;
                 UPDATE {{users}} SET {{version}} = {lower}, {{id}} = {{id}} WHERE {{id}} = {{ada}};
                 RESET session_replication_role"
            )));
            assert_eq!(a.version(app.ada), Some(7), "{lower} as a replica");
        }
        assert_eq!(a.verdict(&token), "valid");
        a.run(&app.sql("UPDATE {users} SET {version} = 3, {email} = 'x' WHERE {id} = {ada}"));
        assert_eq!(a.version(app.ada), Some(8));
        a.run(&app.sql("UPDATE {users} SET {version} = 20, {email} = 'y' WHERE {id} = {ada}"));
        assert_eq!(a.version(app.ada), Some(20));
        a.run(&app.sql("BEGIN; UPDATE {users} SET {version} = 30; ROLLBACK"));
        assert_eq!(a.version(app.ada), Some(20));
    }
}

#[test]
fn an_update_of_other_columns_or_to_equal_values_leaves_the_sessions_alone() {
    for app in App::of_every_shape(shared(), "irrelevant") {
        let mut a = app.connect();
        let token = a.issue(app.ada);
        a.run(&app.sql("UPDATE {users} SET note = 'x', region = region, {email} = {email}, {active} = {active}"));
        assert_eq!(a.verdict(&token), "valid");
    }
}

#[test]
fn a_user_who_is_activated_again_has_to_log_in_again() {
    for app in App::of_every_shape(shared(), "active") {
        let (mut a, mut b) = (app.connect(), app.connect());
        let token = a.issue(app.ada);
        a.run(&app.sql("UPDATE {users} SET {active} = false WHERE {id} = {ada}"));
        assert_eq!(b.verdict(&token), "inactive_user");
        assert_eq!(b.version(app.ada), Some(1));
        assert_reason(
            &mut b,
            "SELECT auth.issue_jwt($1)",
            &[&app.ada],
            "inactive_user",
        );
        a.run(&app.sql("UPDATE {users} SET {active} = true WHERE {id} = {ada}"));
        assert_eq!(b.verdict(&token), "session_version_mismatch");
        assert_eq!(b.version(app.ada), Some(1));
        let token = a.issue(app.ada);
        assert_eq!(b.verdict(&token), "valid");
        // Both in one transaction.
        a.run(&app.sql(
            "BEGIN; UPDATE {users} SET {active} = false; UPDATE {users} SET {active} = true; COMMIT",
        ));
        assert_eq!(b.verdict(&token), "session_version_mismatch");
    }
}

#[test]
fn an_inactive_user_is_one_whose_column_is_null_too() {
    let app = App::new(shared(), "null_active");
    let mut a = app.connect();
    a.run("ALTER TABLE users ALTER is_active DROP NOT NULL");
    let token = a.issue(app.ada);
    a.run("UPDATE users SET is_active = NULL WHERE id = 41");
    assert_eq!(a.verdict(&token), "inactive_user");
    a.run("UPDATE users SET is_active = true WHERE id = 41");
    assert_eq!(a.verdict(&token), "session_version_mismatch");
}

/// An owner who is no superuser, and an application's role that may execute functions and nothing else.
fn with_roles(app: &App<'_>) -> (String, String) {
    let (owner, role) = (format!("owner_{}", app.db), format!("app_{}", app.db));
    app.connect().run(&app.sql(&format!(
        "CREATE ROLE {owner} LOGIN; CREATE ROLE {role} LOGIN;
         ALTER TABLE {{users}} OWNER TO {owner};
         DO $$ DECLARE part regclass; BEGIN
             FOR part IN SELECT relid FROM pg_partition_tree(to_regclass('users')) WHERE level > 0 LOOP
                 EXECUTE format('ALTER TABLE %s OWNER TO {owner}', part);
             END LOOP;
             IF to_regnamespace('\"Odd \"\"Schema\"') IS NOT NULL THEN
                 ALTER SCHEMA \"Odd \"\"Schema\" OWNER TO {owner};
             END IF;
         END $$;
         GRANT EXECUTE ON ALL FUNCTIONS IN SCHEMA auth TO {role}"
    )));
    (owner, role)
}

#[test]
fn a_role_that_may_only_execute_issues_verifies_and_bumps() {
    for app in App::of_every_shape(shared(), "execute") {
        let (_, role) = with_roles(&app);
        let mut a = shared().connect_as(&app.db, &role);
        let token = a.issue(app.ada);
        assert_eq!(a.verdict(&token), "valid");
        assert_eq!(a.bump(app.ada), 1);
        assert_eq!(a.verdict(&token), "session_version_mismatch");
        refused(a.query(&app.sql("TABLE {users}"), &[]), "42501", None);
        refused(a.query("TABLE auth.user_history", &[]), "42501", None);
        let who: String = a.one("SELECT current_user::text", &[]);
        assert_eq!(who, role);
    }
}

#[test]
fn a_role_without_a_grant_verifies_but_neither_issues_nor_bumps() {
    let app = App::new(shared(), "no_grant");
    let role = format!("nobody_{}", app.db);
    app.connect().run(&format!("CREATE ROLE {role} LOGIN"));
    let token = app.connect().issue(app.ada);
    let mut a = shared().connect_as(&app.db, &role);
    assert_eq!(a.verdict(&token), "valid");
    for sql in [
        "SELECT auth.issue_jwt('41')",
        "SELECT auth.bump_session_version('41')",
        "SELECT auth.session_version('41')",
        "SELECT auth.create_signing_key()",
        "SELECT auth.attach_users('users')",
        "SELECT auth.detach_users()",
        "SET auth_ext.notify = off",
        "SET auth_ext.bulk_threshold = 1",
        "SET auth_ext.max_token_size = 300",
    ] {
        refused(a.query(sql, &[]), "42501", None);
    }
}

#[test]
fn row_level_security_forced_upon_the_owner_hides_no_user() {
    for app in App::of_every_shape(shared(), "rls") {
        let (owner, role) = with_roles(&app);
        app.connect().run(&app.sql(
            "ALTER TABLE {users} ENABLE ROW LEVEL SECURITY; ALTER TABLE {users} FORCE ROW LEVEL SECURITY",
        ));
        let mut a = shared().connect_as(&app.db, &role);
        let token = a.issue(app.ada);
        assert_eq!(a.verdict(&token), "valid");
        assert_eq!(a.bump(app.ada), 1);
        assert_eq!(a.verdict(&token), "session_version_mismatch");
        // It is still there for the owner.
        let mut b = shared().connect_as(&app.db, &owner);
        let seen: i64 = b.one(&app.sql("SELECT count(*) FROM {users}"), &[]);
        assert_eq!(seen, 0);
        // TRUNCATE, which row security does not cover, forgets nobody.
        let token = a.issue(app.ada);
        app.connect().run(&app.sql("TRUNCATE {users}"));
        app.insert(&mut app.connect(), app.ada);
        assert_eq!(a.verdict(&token), "session_version_mismatch");
    }
}

#[test]
fn a_partition_with_another_owner_is_covered_too() {
    let app = App::of_shape(shared(), "part_owner", &PARTITIONED);
    let owner = format!("other_{}", app.db);
    let mut a = app.connect();
    a.run(&format!(
        "CREATE ROLE {owner}; ALTER TABLE users OWNER TO {owner}"
    ));
    let token = a.issue(app.ada);
    assert_eq!(a.bump(app.ada), 1);
    assert_eq!(a.verdict(&token), "session_version_mismatch");
    let token = a.issue(app.ada);
    a.run("TRUNCATE users");
    app.insert(&mut a, app.ada);
    assert_eq!(a.verdict(&token), "session_version_mismatch");
}

#[test]
fn the_tables_own_triggers_run_as_its_owner_with_a_safe_search_path() {
    for app in App::of_every_shape(shared(), "triggers") {
        let (owner, role) = with_roles(&app);
        let mut admin = app.connect();
        admin.run(&app.sql(&format!(
            "CREATE TABLE audit (who text, path text, super text);
             GRANT INSERT, SELECT ON audit TO {owner};
             CREATE FUNCTION note() RETURNS trigger LANGUAGE plpgsql AS $$
             BEGIN
                 INSERT INTO public.audit VALUES (current_user, current_setting('search_path'), current_setting('is_superuser'));
                 RETURN NEW;
             END $$;
             CREATE TRIGGER aaa BEFORE UPDATE ON {{users}} FOR EACH ROW EXECUTE FUNCTION note();
             CREATE TRIGGER zzzzz AFTER UPDATE ON {{users}} FOR EACH ROW EXECUTE FUNCTION note();
             CREATE SCHEMA evil; GRANT ALL ON SCHEMA evil TO {role}"
        )));
        let mut a = shared().connect_as(&app.db, &role);
        a.run("SET search_path = evil, public");
        a.bump(app.ada);
        let rows = admin.rows("SELECT DISTINCT who, path, super FROM audit", &[]);
        assert_eq!(rows.len(), 1, "{rows:?}");
        assert_eq!(rows[0].get::<_, &str>(0), owner);
        let path: &str = rows[0].get(1);
        assert!(
            path.starts_with("pg_catalog, ")
                && path.ends_with(", pg_temp")
                && !path.contains("evil"),
            "{path}"
        );
        let path: String = a.one("SHOW search_path", &[]);
        assert_eq!(path, "evil, public");
    }
}

#[test]
fn a_trigger_cannot_escape_from_the_owners_role() {
    let app = App::new(shared(), "escape");
    let (_, role) = with_roles(&app);
    app.connect().run(
        "CREATE FUNCTION escape() RETURNS trigger LANGUAGE plpgsql AS
             $$ BEGIN SET ROLE postgres; RETURN NEW; END $$;
         CREATE TRIGGER escape BEFORE UPDATE ON users FOR EACH ROW EXECUTE FUNCTION escape()",
    );
    let mut a = shared().connect_as(&app.db, &role);
    refused(
        a.query("SELECT auth.bump_session_version('41')", &[]),
        "42501",
        None,
    );
    let who: String = a.one("SELECT current_user::text", &[]);
    assert_eq!(who, role);
}

#[test]
fn an_error_in_the_tables_own_trigger_undoes_the_bump_and_the_role() {
    let app = App::new(shared(), "failing");
    let (_, role) = with_roles(&app);
    app.connect().run(
        "CREATE FUNCTION fail() RETURNS trigger LANGUAGE plpgsql AS
             $$ BEGIN RAISE EXCEPTION 'no' USING ERRCODE = '23514'; END $$;
         CREATE TRIGGER zzzzzz AFTER UPDATE ON users FOR EACH ROW EXECUTE FUNCTION fail()",
    );
    let mut a = shared().connect_as(&app.db, &role);
    let mut listener = Listener::on(app.connect(), "auth_invalidation");
    let token = a.issue(app.ada);
    a.run("BEGIN; SAVEPOINT s");
    refused(
        a.query("SELECT auth.bump_session_version('41', 'why')", &[]),
        "23514",
        None,
    );
    a.run("ROLLBACK TO s");
    let who: String = a.one("SELECT current_user::text", &[]);
    assert_eq!(who, role);
    a.run("COMMIT");
    assert_eq!(a.verdict(&token), "valid");
    assert!(listener.payloads().is_empty());
    // Its reason does not stick to the next change.
    app.connect()
        .run("DROP TRIGGER zzzzzz ON users; UPDATE users SET email = 'x' WHERE id = 41");
    let events = listener.events();
    assert_eq!(events[0]["reason"], json!("updated"));
}

#[test]
fn a_bump_can_be_prepared_for_two_phase_commit() {
    let cluster = Cluster::with_config("two_phase", &[("max_prepared_transactions", "4")]);
    for app in App::of_every_shape(&cluster, "two_phase") {
        let (mut a, mut b) = (app.connect(), app.connect());
        let (ada, eve) = (a.issue(app.ada), a.issue(app.eve));
        a.run("BEGIN");
        a.bump(app.ada);
        a.run("PREPARE TRANSACTION 'bump'");
        assert_eq!(b.verdict(&ada), "valid");
        b.run("ROLLBACK PREPARED 'bump'");
        assert_eq!(a.verdict(&ada), "valid");
        a.run("BEGIN");
        a.bump(app.ada);
        a.run("PREPARE TRANSACTION 'bump'");
        b.run("COMMIT PREPARED 'bump'");
        assert_eq!(a.verdict(&ada), "session_version_mismatch");
        // A bulk deletion, whose mark travels with it; and the session goes on as before.
        a.run("SET auth_ext.bulk_threshold = 1; BEGIN");
        a.run(&app.sql("DELETE FROM {users}; PREPARE TRANSACTION 'bulk'"));
        assert_eq!(b.verdict(&eve), "valid");
        b.run("COMMIT PREPARED 'bulk'");
        for id in [app.ada, app.bob, app.eve] {
            app.insert(&mut b, id);
        }
        assert_eq!(a.verdict(&eve), "session_version_mismatch");
        let mut listener = Listener::on(app.connect(), "auth_invalidation");
        a.bump(app.ada);
        assert_eq!(listener.payloads().len(), 1);
    }
}
