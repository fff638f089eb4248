//! Deferred triggers of a table's owner never run as whoever called one of our functions.

use auth_ext_tests::{App, Ask, Client, PARTITIONED, database_with_key, refused, shared};

/// An owner who wants to be superuser: each deferrable trigger of his notes who runs it, and tries.
struct Attack {
    owner: String,
    admin: Client,
}

impl Attack {
    fn on(db: &str, mut admin: Client) -> Self {
        let owner = format!("owner_{db}");
        admin.run(&format!(
            "CREATE ROLE {owner}; GRANT CREATE ON SCHEMA public TO {owner}; CREATE TABLE seen (who name);
             GRANT INSERT ON seen TO PUBLIC;
             CREATE FUNCTION grab() RETURNS trigger LANGUAGE plpgsql AS $$
             BEGIN
                 INSERT INTO public.seen VALUES (current_user);
                 IF (SELECT rolsuper FROM pg_roles WHERE rolname = current_user) THEN
                     ALTER ROLE {owner} SUPERUSER;
                 END IF;
                 RETURN NULL;
             END $$"
        ));
        Self { owner, admin }
    }

    /// Runs `sql` as a superuser, in a transaction of its own; whether it went through.
    fn run(&mut self, sql: &str) -> bool {
        println!("--- {sql}");
        self.admin.run("TRUNCATE seen");
        let passed = self.admin.batch_execute(sql).is_ok();
        self.admin.batch_execute("ROLLBACK").unwrap();
        let super_user: bool = self.admin.one(
            "SELECT rolsuper FROM pg_roles WHERE rolname = $1::text",
            &[&self.owner],
        );
        assert!(!super_user, "the owner is superuser now");
        let seen = "SELECT count(*) FROM seen WHERE who <> $1::text::name";
        assert_eq!(
            self.admin.one::<i64>(seen, &[&self.owner]),
            0,
            "run by another"
        );
        passed
    }

    /// Changes the keys without the owner's trigger.
    fn quietly(&mut self, sql: &str) {
        self.admin.run(&format!(
            "ALTER TABLE keys DISABLE TRIGGER grab; {sql}; ALTER TABLE keys ENABLE TRIGGER grab"
        ));
    }

    fn ran(&mut self) -> bool {
        self.admin.one("SELECT EXISTS (SELECT FROM seen)", &[])
    }
}

const KINDS: [&str; 2] = [
    "DEFERRABLE INITIALLY DEFERRED",
    "DEFERRABLE INITIALLY IMMEDIATE",
];

#[test]
fn deferred_triggers_fire_as_the_owner_before_we_return_or_the_write_is_refused() {
    for kind in KINDS {
        let db = database_with_key(shared(), "deferred");
        let mut attack = Attack::on(&db, shared().connect(&db));
        attack.admin.run(
            "CREATE TABLE users (id text PRIMARY KEY, email text); INSERT INTO users VALUES ('ada'), ('bob');
             CREATE TABLE keys (id text PRIMARY KEY DEFAULT gen_random_uuid()::text, user_id text, name text,
                 is_active boolean DEFAULT true, last_used_at timestamptz);
             SELECT auth.attach_users('users'), auth.attach_api_keys('keys');
             CREATE TABLE key AS SELECT * FROM auth.create_api_key('ada', 'one')",
        );
        let owner = attack.owner.clone();
        for table in ["users", "keys"] {
            attack.admin.run(&format!(
                "ALTER TABLE {table} OWNER TO {owner};
                 CREATE CONSTRAINT TRIGGER grab AFTER INSERT OR UPDATE OR DELETE ON {table} {kind}
                     FOR EACH ROW EXECUTE FUNCTION grab()"
            ));
        }
        for call in [
            "SELECT auth.verify_api_key(key) FROM key",
            "SELECT auth.authenticate_api_key(key) FROM key",
            "SELECT auth.check_api_key(key) FROM key",
            "SELECT auth.bump_session_version('ada')",
            "SELECT auth.create_api_key('ada', 'two')",
            "SELECT auth.revoke_api_key(id) FROM keys WHERE name = 'one'",
        ] {
            let reads = call.contains("_api_key(key)");
            let mut ran = reads;
            for wrapped in [
                call.to_owned(),
                format!("BEGIN; SET CONSTRAINTS ALL DEFERRED; {call}; COMMIT"),
                format!(
                    "BEGIN; SET CONSTRAINTS ALL DEFERRED; SAVEPOINT s; {call}; RELEASE s; COMMIT"
                ),
                format!(
                    "BEGIN; SET CONSTRAINTS ALL DEFERRED; DECLARE c CURSOR WITH HOLD FOR {call}; COMMIT; CLOSE c"
                ),
            ] {
                attack.quietly("UPDATE keys SET last_used_at = NULL");
                let passed = attack.run(&wrapped);
                assert!(passed || !reads, "{wrapped}");
                ran |= attack.ran() || !passed;
            }
            assert!(ran, "{call}: no trigger ran");
            if call.contains("create_") {
                attack.quietly("DELETE FROM keys WHERE name <> 'one' AND name <> 'two'");
            }
        }
    }
}

#[test]
fn nor_do_those_of_tables_that_the_owners_own_triggers_write() {
    for write in [
        "INSERT INTO public.audit VALUES (1)",
        "UPDATE public.audit SET n = n + 1",
        "DELETE FROM public.parent",
        "EXECUTE 'SET CONSTRAINTS ALL DEFERRED'; INSERT INTO public.audit VALUES (1)",
        "EXECUTE 'DECLARE later CURSOR WITH HOLD FOR SELECT public.later()'",
        "EXECUTE 'CREATE TEMP TABLE pg_temp_grab (n int)'",
        "EXECUTE 'SET ROLE postgres'",
        "EXECUTE 'SET SESSION AUTHORIZATION postgres'",
    ] {
        for kind in KINDS {
            let app = App::new(shared(), "nested");
            let mut attack = Attack::on(&app.db, app.connect());
            let owner = attack.owner.clone();
            attack.admin.run(&format!(
                "CREATE TABLE audit (n int); INSERT INTO audit VALUES (0);
                 CREATE TABLE parent (n int PRIMARY KEY); INSERT INTO parent VALUES (1);
                 CREATE TABLE child (n int REFERENCES parent ON DELETE CASCADE); INSERT INTO child VALUES (1);
                 CREATE CONSTRAINT TRIGGER grab AFTER INSERT OR UPDATE OR DELETE ON audit {kind} FOR EACH ROW EXECUTE FUNCTION grab();
                 CREATE CONSTRAINT TRIGGER grab AFTER DELETE ON child {kind} FOR EACH ROW EXECUTE FUNCTION grab();
                 CREATE FUNCTION later() RETURNS int LANGUAGE plpgsql AS $$
                 BEGIN INSERT INTO public.audit VALUES (2); RETURN 1; END $$;
                 CREATE FUNCTION write() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN {write}; RETURN NEW; END $$;
                 CREATE TRIGGER write BEFORE UPDATE ON users FOR EACH ROW EXECUTE FUNCTION write();
                 ALTER TABLE users OWNER TO {owner}; ALTER TABLE audit OWNER TO {owner};
                 ALTER TABLE parent OWNER TO {owner}; ALTER TABLE child OWNER TO {owner}"
            ));
            let passed = attack.run(
                "BEGIN; SET CONSTRAINTS ALL DEFERRED; SELECT auth.bump_session_version('41'); COMMIT",
            );
            assert!(!passed || attack.ran(), "{write}: no trigger ran");
        }
    }
}

#[test]
fn nor_do_those_of_partitions() {
    for kind in KINDS {
        let app = App::of_shape(shared(), "deferred_parts", &PARTITIONED);
        let mut attack = Attack::on(&app.db, app.connect());
        let owner = attack.owner.clone();
        attack.admin.run(&format!(
            "ALTER TABLE users OWNER TO {owner}; ALTER TABLE users_eu OWNER TO {owner};
             CREATE CONSTRAINT TRIGGER grab AFTER UPDATE ON users_eu {kind} FOR EACH ROW EXECUTE FUNCTION grab()"
        ));
        let passed = attack.run(
            "BEGIN; SET CONSTRAINTS ALL DEFERRED; SELECT auth.bump_session_version('41'); COMMIT",
        );
        assert!(!passed || attack.ran());
    }
}

#[test]
fn the_callers_own_deferred_constraints_wait_for_the_commit_as_ever() {
    let app = App::new(shared(), "own_deferred");
    let mut a = app.connect();
    a.run(
        "CREATE TABLE org (id int PRIMARY KEY);
         ALTER TABLE users ADD COLUMN org int REFERENCES org DEFERRABLE INITIALLY DEFERRED;
         CREATE TABLE member (org int REFERENCES org DEFERRABLE INITIALLY DEFERRED);
         CREATE TABLE log (who name);
         CREATE FUNCTION note() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN INSERT INTO log VALUES (current_user); RETURN NULL; END $$;
         CREATE CONSTRAINT TRIGGER note AFTER INSERT ON member DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION note();
         BEGIN; INSERT INTO member VALUES (7); UPDATE users SET org = 8 WHERE id = 42; SELECT auth.bump_session_version('41')",
    );
    assert_eq!(a.one::<i64>("SELECT count(*) FROM log", &[]), 0);
    a.run("INSERT INTO org VALUES (7), (8); COMMIT");
    assert_eq!(
        a.one::<i64>("SELECT count(*) FROM log WHERE who = 'postgres'", &[]),
        1
    );
    // A deferred foreign key of what a call writes is checked at once.
    a.run(
        "CREATE TABLE keys (id text PRIMARY KEY DEFAULT gen_random_uuid()::text, name text,
             user_id bigint REFERENCES users DEFERRABLE INITIALLY DEFERRED);
         SELECT auth.attach_api_keys('keys'); BEGIN; INSERT INTO users (id) VALUES (77);
         SELECT auth.create_api_key('77', 'one'); SELECT auth.revoke_api_key(id) FROM keys; COMMIT",
    );
    a.run("BEGIN; INSERT INTO member VALUES (99)");
    refused(a.batch_execute("COMMIT"), "23503", None);
}
