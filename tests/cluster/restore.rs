//! A dump comes back whole, by every way that pg_dump and pg_restore have, and until it is whole it lets nobody in.

use std::path::PathBuf;

use auth_ext_tests::{App, Ask, Client, Cluster, refused, shared};

mod incomplete;

/// A database with something of all that is dumped, and tokens of it.
struct Dumped<'c> {
    app: App<'c>,
    folder: PathBuf,
    good: String,
    ended: String,
    bumped: String,
    mail: String,
}

impl<'c> Dumped<'c> {
    fn new(cluster: &'c Cluster, name: &str) -> Self {
        let app = App::new(cluster, name);
        let mut a = app.connect();
        let [good, ended, bumped] = ["41", "41", "42"].map(|user| a.issue(user));
        a.rows("SELECT auth.revoke_jwt($1)", &[&ended]);
        a.bump("42");
        let mail = a.one(
            "SELECT auth.issue_one_time_token('41', 'password_reset')",
            &[],
        );
        a.run(
            "SELECT auth.exchange_sso_token(auth.issue_sso_token('41'), 'app');
             INSERT INTO auth.issuers (issuer, audience, session_check) VALUES ('second', '{a}', 'issued_at');
             SELECT auth.create_signing_key('second', 'EdDSA');
             DELETE FROM users WHERE id < 0",
        );
        let folder = cluster.scratch(name);
        Self {
            app,
            folder,
            good,
            ended,
            bumped,
            mail,
        }
    }

    fn dump(&self, cluster: &Cluster, role: &str, options: &[&str]) -> String {
        let file = self
            .folder
            .join(format!("dump{}", options.join("").replace('/', "_")));
        let file = file.to_str().unwrap().to_owned();
        let options: Vec<_> = options.iter().copied().chain(["--file", &file]).collect();
        cluster
            .tool("pg_dump", &self.app.db, role, &options)
            .unwrap();
        file
    }

    fn holds_in(&self, cluster: &Cluster, db: &str) {
        let mut a = cluster.connect(db);
        assert_eq!(a.verdict(&self.good), "valid");
        assert_eq!(a.verdict(&self.ended), "revoked");
        assert_eq!(a.verdict(&self.bumped), "session_version_mismatch");
        let lacks: Option<Vec<String>> = a.one("SELECT restore_lacks FROM auth.health()", &[]);
        assert_eq!(lacks, None);
        let sql = "SELECT auth.consume_one_time_token($1, 'password_reset')";
        assert_eq!(a.one::<String>(sql, &[&self.mail]), "41");
        let sql = "SELECT string_agg(issuer, ' ') FROM auth.issuers WHERE is_default";
        assert_eq!(a.one::<String>(sql, &[]), "https://api.example.com");
        a.run("INSERT INTO users (id) VALUES (-9223372036854775808)");
        assert_eq!(
            a.version("-9223372036854775808"),
            Some(1),
            "a deleted id is not new"
        );
        // What needs the secret says so, and goes on after a rotation.
        let error = refused(
            a.batch_execute("SELECT auth.issue_jwt('41')"),
            "55000",
            None,
        );
        assert!(
            error.hint().unwrap().contains("rotate_signing_key"),
            "{error:?}"
        );
        a.run("SELECT auth.rotate_signing_key()");
        let token = a.issue("41");
        assert_eq!(a.verdict(&token), "valid");
        a.rows("SELECT auth.revoke_jwt($1)", &[&token]);
        assert_eq!(a.verdict(&token), "revoked");
        a.bump("41");
        assert_eq!(a.verdict(&self.good), "session_version_mismatch");
    }
}

fn restore(cluster: &Cluster, db: &str, arguments: &[&str]) {
    let always = ["--exit-on-error"];
    let arguments: Vec<_> = always.iter().chain(arguments).copied().collect();
    if let Err(complaint) = cluster.tool("pg_restore", db, "postgres", &arguments) {
        panic!("pg_restore {arguments:?}: {complaint}");
    }
}

#[test]
fn every_way_of_pg_restore_brings_back_all_but_the_secrets() {
    let cluster = shared();
    let dumped = Dumped::new(cluster, "ways");
    let custom = dumped.dump(cluster, "postgres", &["-Fc"]);
    let folder = dumped.dump(cluster, "postgres", &["-Fd", "-j2"]);
    let inserts = dumped.dump(cluster, "postgres", &["-Fc", "--inserts"]);
    let ways: &[&[&[&str]]] = &[
        &[&[&custom]],
        &[&["-j2", &custom]],
        &[&["-j4", &folder]],
        &[&["--single-transaction", &custom]],
        &[&["-j2", &inserts]],
        &[
            &["--section=pre-data", &custom],
            &["-j2", "--section=data", &custom],
            &["-j2", "--section=post-data", &custom],
        ],
        &[
            &["--schema-only", &custom],
            &["--data-only", "-j2", &custom],
        ],
        &[
            &["--schema-only", &custom],
            &["--data-only", "--disable-triggers", &custom],
        ],
        &[&[&custom], &["--clean", "--if-exists", &custom]],
        &[&[&custom], &["--clean", "--if-exists", "-j2", &folder]],
    ];
    for way in ways {
        println!("--- {way:?}");
        let db = cluster.empty_database("back");
        for step in *way {
            restore(cluster, &db, step);
        }
        dumped.holds_in(cluster, &db);
    }
    let db = cluster.empty_database("back");
    cluster.psql(&db, &cluster.dump(&dumped.app.db));
    dumped.holds_in(cluster, &db);
}

#[test]
fn a_dump_of_a_restored_database_comes_back_too() {
    let cluster = shared();
    let dumped = Dumped::new(cluster, "twice");
    let first = cluster.empty_database("once");
    cluster.psql(&first, &cluster.dump(&dumped.app.db));
    let second = cluster.empty_database("twice");
    cluster.psql(&second, &cluster.dump(&first));
    dumped.holds_in(cluster, &second);
}

#[test]
fn keys_that_arrive_by_logical_replication_sign_and_verify_at_once() {
    let cluster = Cluster::with_config("replicated", &[("wal_level", "logical")]);
    let app = App::new(&cluster, "publisher");
    let mut p = app.connect();
    p.run("SELECT auth.import_signing_key('my-very-secret-hmac-key-0123456789', 'HS256', kid => 'first')");
    let db = cluster.database("subscriber");
    let mut s = cluster.connect(&db);
    s.run("CREATE TABLE users (id bigint PRIMARY KEY, email text, note text, region text, is_active boolean)");
    p.run("CREATE PUBLICATION keys FOR TABLE users, auth.issuers, auth.signing_key_store, auth.signing_secrets");
    p.run("SELECT pg_create_logical_replication_slot('s', 'pgoutput')");
    let conninfo = cluster.conninfo(&app.db, "postgres");
    s.run("ALTER TABLE users ADD session_version bigint NOT NULL DEFAULT 0");
    s.run(&format!(
        "CREATE SUBSCRIPTION s CONNECTION '{conninfo}' PUBLICATION keys WITH (create_slot = false, slot_name = 's')"
    ));
    let arrived = |s: &mut Client, count: i64| {
        // The tables are copied side by side.
        let sql = "SELECT count(*) FROM auth.signing_keys WHERE has_secret AND EXISTS (SELECT FROM users)";
        for _ in 0..300 {
            if s.one::<i64>(sql, &[]) == count {
                return;
            }
            std::thread::sleep(std::time::Duration::from_millis(100));
        }
        panic!("the keys did not arrive");
    };
    arrived(&mut s, 2);
    s.run("SELECT auth.attach_users('users')");
    p.run("SELECT auth.activate_signing_key('first')");
    let token = p.issue("41");
    assert_eq!(s.verdict(&token), "valid");
    // Later ones, under the eyes of a session that has read the keys.
    p.run("SELECT auth.import_signing_key('another-very-secret-key-0123456789', 'HS256', kid => 'second'), auth.activate_signing_key('second')");
    let token = p.issue("41");
    arrived(&mut s, 3);
    assert_eq!(s.verdict(&token), "valid");
    for sql in ["DISABLE", "SET (slot_name = NONE)"] {
        s.run(&format!("ALTER SUBSCRIPTION s {sql}"));
    }
    s.run("DROP SUBSCRIPTION s");
}

#[test]
fn revoking_tokens_of_one_issuer_touches_no_row_that_they_share() {
    let app = App::new(shared(), "shared_row");
    let mut a = app.connect();
    let (first, second) = (a.issue("41"), a.issue("41"));
    a.rows("SELECT auth.revoke_jwt($1)", &[&first]);
    let locked = "SELECT string_agg(xmax::text, ' ') FROM auth.issuers";
    let before: String = a.one(locked, &[]);
    a.run("BEGIN");
    a.rows("SELECT auth.revoke_jwt($1)", &[&second]);
    assert_eq!(app.connect().one::<String>(locked, &[]), before);
    a.run("COMMIT");
    let foreign = "SELECT count(*) FROM pg_constraint WHERE contype = 'f' AND connamespace = 'auth'::regnamespace";
    assert_eq!(a.one::<i64>(foreign, &[]), 0);
}

/// Makes a role the owner of a database and of what the application has in it.
fn give_to(cluster: &Cluster, admin: &mut Client, db: &str, role: &str) {
    let roles = format!("SELECT count(*) FROM pg_roles WHERE rolname = '{role}'");
    if cluster.connect("postgres").one::<i64>(&roles, &[]) == 0 {
        admin.run(&format!("CREATE ROLE {role} LOGIN"));
    }
    admin.run(&format!(
        "ALTER DATABASE \"{db}\" OWNER TO {role}; ALTER SCHEMA public OWNER TO {role}"
    ));
}

#[test]
fn the_owner_of_the_database_who_is_no_superuser_dumps_and_restores_it() {
    let cluster = shared();
    let dumped = Dumped::new(cluster, "owned");
    let owner = "database_owner";
    let mut a = dumped.app.connect();
    give_to(cluster, &mut a, &dumped.app.db, owner);
    a.run(&format!("ALTER TABLE users OWNER TO {owner}"));
    let custom = dumped.dump(cluster, owner, &["-Fc"]);
    // Nor does a role for backups have to be one.
    a.run("CREATE ROLE backups LOGIN; GRANT pg_read_all_data TO backups");
    dumped.dump(cluster, "backups", &["-Fp"]);
    // It reads no secret, and makes no key.
    let mut o = cluster.connect_as(&dumped.app.db, owner);
    assert_eq!(
        o.query("TABLE auth.signing_secrets", &[])
            .map_or(0, |rows| rows.len()),
        0
    );
    refused(o.batch_execute("INSERT INTO auth.signing_key_store (issuer, kid, alg, public_jwk) VALUES ('a', 'b', 'ES256', '{}')"), "42501", None);

    // By a superuser, before and after: what README's procedure says.
    let db = cluster.empty_database("owned");
    let mut admin = cluster.connect(&db);
    give_to(cluster, &mut admin, &db, owner);
    admin.run(&format!(
        "CREATE EXTENSION auth_ext;
         GRANT INSERT ON ALL TABLES IN SCHEMA auth TO {owner};
         GRANT EXECUTE ON ALL FUNCTIONS IN SCHEMA auth TO {owner}"
    ));
    let list = cluster.list(&custom);
    let kept: Vec<_> = list
        .lines()
        .filter(|line| {
            !line.contains(" SCHEMA - ")
                && !line.contains(" EXTENSION ")
                && !line.contains(" COMMENT - ")
        })
        .collect();
    let file = dumped.folder.join("list");
    std::fs::write(&file, kept.join("\n")).unwrap();
    let arguments = [
        "--exit-on-error",
        "--no-owner",
        "-j2",
        "-L",
        file.to_str().unwrap(),
        &custom,
    ];
    cluster.tool("pg_restore", &db, owner, &arguments).unwrap();
    admin.run(&format!(
        "REVOKE INSERT ON ALL TABLES IN SCHEMA auth FROM {owner};
         REVOKE EXECUTE ON ALL FUNCTIONS IN SCHEMA auth FROM {owner}"
    ));
    dumped.holds_in(cluster, &db);
    let mut o = cluster.connect_as(&db, owner);
    refused(
        o.batch_execute("DELETE FROM auth.revoked_tokens"),
        "42501",
        None,
    );
}
