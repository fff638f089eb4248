//! Connecting with a token: PostgreSQL 18's `oauth_validator_libraries = 'auth_ext'`.

use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use auth_ext_tests::{App, Ask, Client, Cluster, Failure, ISSUER, Mint, Wire, json, shared};

mod attacks;
mod refused;
mod roles;

/// A server where all but the superuser `postgres` connect with tokens: those whose role begins with `m_` by an ident map, the
/// others by the token's claim. It has no preloaded library unless the settings say so.
struct Server {
    cluster: Cluster,
}

/// An application on it: users 41 and 42 with a document each, under a policy.
struct Site<'c> {
    app: App<'c>,
    cluster: &'c Cluster,
    admin: Client,
    mint: Mint,
}

impl Server {
    /// None on the majors before 18.
    fn start(name: &str, settings: &[(&str, &str)]) -> Option<Self> {
        let version = "SELECT current_setting('server_version_num')::int";
        let version: i32 = shared().connect("postgres").one(version, &[]);
        if version < 180_000 {
            println!("skipped: PostgreSQL has oauth_validator_libraries from 18 on");
            return None;
        }
        let setup = Cluster::setup(name).setting("oauth_validator_libraries", "auth_ext");
        let cluster = (settings.iter())
            .fold(setup, |setup, (name, value)| setup.setting(name, value))
            .start();
        Self::open_doors(&cluster);
        cluster.connect("postgres").run(
            "CREATE ROLE app LOGIN; CREATE ROLE other LOGIN; CREATE ROLE m_app LOGIN; CREATE ROLE m_other LOGIN;
             CREATE ROLE closed; CREATE ROLE boss SUPERUSER LOGIN; CREATE ROLE m_boss SUPERUSER LOGIN",
        );
        Some(Self { cluster })
    }

    fn open_doors(cluster: &Cluster) {
        let line = |databases: &str, roles: &str, options: &str| {
            format!(
                "local {databases} {roles} oauth issuer=\"{ISSUER}\" scope=\"openid\" {options}\n"
            )
        };
        let hba = format!(
            "local all,replication postgres trust\n{}{}",
            line("all", "/^m_", "map=users"),
            line("all,replication", "all", "delegate_ident_mapping=1"),
        );
        cluster.authenticate_by(
            &hba,
            "users 41 m_app\nusers 41 m_boss\nusers /^x.*$ m_app\n",
        );
        cluster.reload();
    }

    fn site(&self, name: &str) -> Site<'_> {
        Site::new(&self.cluster, name)
    }
}

impl<'c> Site<'c> {
    fn new(cluster: &'c Cluster, name: &str) -> Self {
        let app = App::new(cluster, name);
        let mut admin = app.connect();
        admin.run(
            "CREATE TABLE documents (id bigint, owner text);
             INSERT INTO documents SELECT n, 41 + n % 3 FROM generate_series(1, 3000) AS n;
             ALTER TABLE documents ENABLE ROW LEVEL SECURITY;
             CREATE POLICY own ON documents USING (owner = auth.user_id());
             GRANT SELECT ON documents TO app, m_app, boss",
        );
        let mint = Mint::new(&mut admin);
        Self {
            app,
            cluster,
            admin,
            mint,
        }
    }

    /// A token of user 41 with these claims, too.
    fn token(&mut self, claims: &auth_ext_tests::Value) -> String {
        let mut all = json!({"sub": "41", "session_version": 0, "role": "app"});
        all.as_object_mut()
            .unwrap()
            .extend(claims.as_object().unwrap().clone());
        self.mint.token(&mut self.admin, &all)
    }

    fn good(&mut self) -> String {
        self.token(&json!({}))
    }

    fn log_in(&self, role: &str, token: &str) -> Result<Wire, Failure> {
        log_in(self.cluster, &self.app.db, role, token)
    }

    #[track_caller]
    fn wire(&self, role: &str, token: &str) -> Wire {
        self.log_in(role, token)
            .unwrap_or_else(|failure| panic!("{failure:?}\n{}", self.cluster.log()))
    }

    /// The login fails, the client is told nothing, and the server's log says why.
    #[track_caller]
    fn refused(&self, role: &str, token: &str, reason: &str) {
        refused(self.cluster, role, reason, || self.log_in(role, token));
    }
}

fn log_in(cluster: &Cluster, db: &str, role: &str, token: &str) -> Result<Wire, Failure> {
    Wire::with_token(cluster, &[("user", role), ("database", db)], token)
}

#[track_caller]
fn refused(
    cluster: &Cluster,
    role: &str,
    reason: &str,
    attempt: impl FnOnce() -> Result<Wire, Failure>,
) {
    let before = cluster.log().len();
    let Err(failure) = attempt() else {
        panic!("logged in, where {reason} was expected")
    };
    assert_eq!(failure.code(), "28000", "{failure:?}");
    let message = format!("OAuth bearer authentication failed for user \"{role}\"");
    assert_eq!(failure.message(), message);
    for letter in ['D', 'H', 'W'] {
        assert_eq!(failure.field(letter), "", "{failure:?}");
    }
    assert!(failure.before.is_empty(), "{failure:?}");
    let log = &cluster.log()[before..];
    let line = format!("auth_ext refused a login with a token: {reason}\n");
    assert!(log.contains(&line), "no {line} in {log}");
}

const WHO: &str = "SELECT current_user, session_user, system_user, auth.user_id()";

#[test]
fn the_token_is_the_sessions_identity_and_policies_need_no_further_call() {
    let Some(server) = Server::start("oauth", &[]) else {
        return;
    };
    let mut site = server.site("good");
    let token = site.good();
    let mut a = site.wire("app", &token);
    assert_eq!(a.show(WHO), "app app oauth:41 41");
    assert_eq!(
        a.show("SELECT count(*), min(owner) FROM documents"),
        "1000 41"
    );
    let claims = "SELECT auth.jwt()->>'sub', auth.role(), auth.claim('aud')";
    assert_eq!(a.show(claims), "41 app app");
    // Parallel workers have it, too.
    a.show("SET debug_parallel_query = on; SET parallel_setup_cost = 0; SET parallel_tuple_cost = 0; SET min_parallel_table_scan_size = 0");
    let plan = a.show("EXPLAIN SELECT count(*), min(system_user) FROM documents");
    assert!(plan.contains("Gather"), "{plan}");
    let parallel = "SELECT count(*), min(system_user), min(auth.user_id()) FROM documents";
    assert_eq!(a.show(parallel), "1000 oauth:41 41");
    // It survives what does not end a session, and hides behind a transaction's.
    let other = site.admin.issue("42");
    let steps = [
        ("ROLLBACK", "41"),
        ("BEGIN", "41"),
        ("SAVEPOINT s", "41"),
        ("ROLLBACK TO s", "41"),
        ("RESET ALL", "41"),
        (&format!("SELECT 1 FROM auth.authenticate('{other}')"), "42"),
        ("ROLLBACK", "41"),
        ("DISCARD ALL", ""),
    ];
    for (sql, user) in steps {
        a.show(sql);
        assert_eq!(a.show("SELECT auth.user_id()"), user, "{sql}");
    }
    assert_eq!(a.show("SELECT count(*) FROM documents"), "0");
    let mut b = site.wire("app", &token);
    b.show("SELECT auth.logout()");
    assert_eq!(b.show("SELECT auth.user_id()"), "");
    // Who comes without a token is nobody.
    let nobody: Option<String> = site.admin.one("SELECT auth.user_id()", &[]);
    assert_eq!(nobody, None);
    assert_eq!(
        site.admin.one::<Option<String>>("SELECT system_user", &[]),
        None
    );
}

#[test]
fn a_bump_ends_the_identity_of_connections_that_were_opened_with_the_token() {
    let Some(server) = Server::start("oauth_bump", &[]) else {
        return;
    };
    let mut site = server.site("bump");
    let token = site.good();
    let mut a = site.wire("app", &token);
    assert_eq!(a.show("SELECT auth.user_id()"), "41");
    site.admin.bump("41");
    assert_eq!(
        a.show("SELECT auth.user_id(), count(*) FROM documents"),
        " 0"
    );
    site.refused("app", &token, "session_version_mismatch");
}

#[test]
fn what_the_client_sets_in_its_first_message_holds_once_the_token_is_verified() {
    let Some(server) = Server::start("oauth_options", &[]) else {
        return;
    };
    let mut site = server.site("options");
    let token = site.good();
    let db = site.app.db.clone();
    let startup = |options: &'static str| {
        [
            ("user", "app"),
            ("database", db.as_str()),
            ("application_name", "theirs"),
            ("client_encoding", "LATIN1"),
            ("DateStyle", "German"),
            ("options", options),
        ]
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
    };
    let open = |options| {
        let startup = startup(options);
        let startup: Vec<_> = startup
            .iter()
            .map(|(n, v)| (n.as_str(), v.as_str()))
            .collect();
        Wire::with_token(site.cluster, &startup, &token)
    };
    let mut a =
        open("-c work_mem=7MB -cstatement_timeout=12345 --lock_timeout=54321 -c role=app").unwrap();
    assert_eq!(a.parameters["application_name"], "theirs");
    assert_eq!(a.parameters["client_encoding"], "LATIN1");
    assert_eq!(
        a.show("SELECT current_setting('work_mem'), current_setting('statement_timeout'), current_setting('lock_timeout'),
                    current_setting('DateStyle'), current_user"),
        "7MB 12345ms 54321ms German, DMY app"
    );
    let seen = "SELECT application_name FROM pg_stat_activity WHERE pid = pg_backend_pid()";
    assert_eq!(a.show(seen), "theirs");
    // And what PostgreSQL says to a wrong one is said as ever.
    for (options, code) in [
        ("-c no_such_parameter=1", "42704"),
        ("-c work_mem=much", "22023"),
        ("-c log_min_messages=panic", "42501"),
        ("-c auth_ext.session_identity=token", "42501"),
        ("-c role=other", "42501"),
    ] {
        let failure = open(options).err().unwrap();
        assert_eq!(failure.code(), code, "{options} {failure:?}");
    }
}

#[test]
fn a_login_trigger_and_the_counters_see_who_logged_in() {
    let settings = [("shared_preload_libraries", "auth_ext")];
    let Some(server) = Server::start("oauth_counts", &settings) else {
        return;
    };
    let mut site = server.site("counts");
    site.admin.run(
        "CREATE TABLE logins (who text, role name);
         CREATE FUNCTION note_login() RETURNS event_trigger LANGUAGE plpgsql SECURITY DEFINER SET search_path = public
             AS 'BEGIN INSERT INTO logins VALUES (auth.user_id(), session_user); END';
         CREATE EVENT TRIGGER note_login ON login EXECUTE FUNCTION note_login();
         ALTER EVENT TRIGGER note_login ENABLE ALWAYS;
         SELECT auth.reset_statistics()",
    );
    let token = site.token(&json!({"jti": "the-token", "sid": "s"}));
    let stale = site.token(&json!({"session_version": 7}));
    let mut a = site.wire("app", &token);
    site.refused("app", &stale, "session_version_mismatch");
    site.refused("app", "x", "malformed");
    let pid: i32 = a.show("SELECT pg_backend_pid()").parse().unwrap();
    let counts = "SELECT string_agg(name || ' ' || coalesce(reason || ' ', '') || total, ', ' ORDER BY name, reason)
                  FROM auth.statistics() WHERE total > 0 AND name IN ('verified', 'refused')";
    assert_eq!(
        site.admin.one::<String>(counts, &[]),
        "refused malformed 1, refused session_version_mismatch 1, verified 1"
    );
    let row = &site.admin.rows("SELECT * FROM auth.activity", &[])[0];
    let of = |column: &str| row.get::<_, String>(column);
    assert_eq!(row.get::<_, i32>("pid"), pid);
    assert_eq!(
        [
            of("user_id"),
            of("issuer"),
            of("kind"),
            of("scope"),
            of("token_id"),
            of("session_id")
        ],
        ["41", ISSUER, "token", "session", "the-token", "s"]
    );
    let noted = "SELECT string_agg(who || ' ' || role, ', ') FROM logins WHERE who IS NOT NULL";
    assert_eq!(site.admin.one::<String>(noted, &[]), "41 app");
    assert_eq!(
        site.admin
            .one::<i64>("SELECT auth.end_connections('41')", &[]),
        1
    );
}

#[test]
fn hang_up_ends_a_connection_whose_token_ends() {
    let settings = [
        ("shared_preload_libraries", "auth_ext"),
        ("auth_ext.when_ended", "hang_up"),
    ];
    let Some(server) = Server::start("oauth_hang_up", &settings) else {
        return;
    };
    let mut site = server.site("hang_up");
    let (ended, kept) = (site.good(), site.token(&json!({"sub": "42"})));
    let mut a = site.wire("app", &ended);
    let mut b = site.wire("app", &kept);
    site.admin.bump("41");
    let deadline = Instant::now() + Duration::from_secs(30);
    while let Ok(rows) = a.query("SELECT auth.user_id(), pg_sleep(0.1)") {
        assert_eq!(rows, [["", ""]]);
        assert!(Instant::now() < deadline, "still connected");
    }
    assert_eq!(b.show("SELECT auth.user_id()"), "42");
}

#[test]
fn psycopg_connects_with_a_token_as_the_documentation_shows() {
    let Some(server) = Server::start("oauth_psycopg", &[]) else {
        return;
    };
    let mut site = server.site("psycopg");
    let tests = Path::new(env!("CARGO_MANIFEST_DIR"));
    let connect = |token: &str| {
        let mut python = Command::new(tests.join("python"));
        python
            .arg(tests.join("oauth/connect.py"))
            .arg(site.app.conninfo("app"))
            .env("TOKEN", token)
            .env("ISSUER", ISSUER);
        let output = python.output().expect("python");
        let text = |octets| String::from_utf8_lossy(octets).into_owned();
        (text(&output.stdout), text(&output.stderr))
    };
    let good = site.mint.token(
        &mut site.admin,
        &json!({"sub": "41", "session_version": 0, "role": "app"}),
    );
    assert_eq!(
        connect(&good),
        ("[\"app\", \"41\"]\n".into(), String::new())
    );
    site.admin.bump("41");
    let (shown, complaint) = connect(&good);
    assert_eq!(shown, "");
    let expected = "OAuth bearer authentication failed for user \"app\"";
    assert!(complaint.contains(expected), "{complaint}");
}

#[test]
fn a_standby_takes_tokens_and_refuses_what_was_ended_on_the_primary() {
    let Some(server) = Server::start("oauth_primary", &[]) else {
        return;
    };
    let mut site = server.site("standby");
    let token = site.good();
    let standby = Cluster::start_standby(site.cluster);
    standby.wait_replay(site.cluster);
    let db = site.app.db.clone();
    let mut a = log_in(&standby, &db, "app", &token).unwrap();
    assert_eq!(a.show(WHO), "app app oauth:41 41");
    assert_eq!(a.show("SELECT count(*) FROM documents"), "1000");
    site.admin.bump("41");
    standby.wait_replay(site.cluster);
    assert_eq!(a.show("SELECT auth.user_id()"), "");
    refused(&standby, "app", "session_version_mismatch", || {
        log_in(&standby, &db, "app", &token)
    });
}
