//! Whatever PostgreSQL is told to print of statements, plans and parameters, nothing that our functions run holds a secret.
//!
//! The secrets come from a table and go into one, so that the caller's own statements don't hold them either.

use std::sync::mpsc::Receiver;

use auth_ext_tests::{
    App, Ask, Client, Cluster, DbError, base64, json, secret_parts, service, shared, spellings,
};

use calls::{CALLS, SECRET};

mod calls;

/// All that prints, and all of it. A parameter that this major has not is passed over.
const SHOUT: &[&str] = &[
    "client_min_messages = debug5",
    "debug_print_parse = on",
    "debug_print_rewritten = on",
    "debug_print_plan = on",
    "log_statement = 'all'",
    "log_min_duration_statement = 0",
    "log_parameter_max_length = -1",
    "log_parameter_max_length_on_error = -1",
    "log_executor_stats = on",
    "auto_explain.log_min_duration = 0",
    "auto_explain.log_nested_statements = on",
    "auto_explain.log_analyze = on",
    "auto_explain.log_verbose = on",
    "auto_explain.log_buffers = on",
    "auto_explain.log_wal = on",
    "auto_explain.log_triggers = on",
    "auto_explain.log_settings = on",
    "auto_explain.log_parameter_max_length = -1",
];

struct Sweep<'c> {
    quiet: Client,
    loud: Client,
    heard: Receiver<DbError>,
    cluster: &'c Cluster,
}

impl<'c> Sweep<'c> {
    fn new(cluster: &'c Cluster, app: &App<'_>) -> Self {
        let mut quiet = app.connect();
        quiet.run(
            "SET log_min_duration_statement = -1; SET log_statement = 'none'; SET log_min_messages = panic;
             CREATE TABLE kept (name text PRIMARY KEY, value text)",
        );
        let (mut loud, heard) = cluster.connect_with_notices(&app.db);
        let _ = loud.batch_execute("LOAD 'auto_explain'");
        for setting in SHOUT {
            let _ = loud.batch_execute(&format!("SET {setting}"));
        }
        Self {
            quiet,
            loud,
            heard,
            cluster,
        }
    }

    fn put(&mut self, name: &str, value: &str) {
        self.quiet
            .rows("INSERT INTO kept VALUES ($1, $2)", &[&name, &value]);
    }

    fn call(&mut self, name: &str, expression: &str) {
        let mut sql = expression.to_owned();
        while let Some((before, rest)) = sql.split_once('{')
            && let Some((value, after)) = rest.split_once('}')
            && value.bytes().all(|b| b.is_ascii_lowercase() || b == b'_')
        {
            sql =
                format!("{before}(SELECT k.value FROM kept AS k WHERE k.name = '{value}'){after}");
        }
        let sql = format!("INSERT INTO kept SELECT '{name}', ({sql})::text ON CONFLICT DO NOTHING");
        if let Err(error) = self.loud.batch_execute(&sql) {
            let error = error.as_db_error().unwrap();
            assert_ne!(error.code().code(), "42883", "{sql}: {error:?}");
            assert_ne!(error.code().code(), "42601", "{sql}: {error:?}");
        }
    }

    /// What the server has logged, counted or told the client.
    fn said(&mut self) -> String {
        let mut said = self.cluster.log();
        for notice in self.heard.try_iter() {
            said.push_str(&format!(
                "\n{} {} {} {}",
                notice.message(),
                notice.detail().unwrap_or(""),
                notice.hint().unwrap_or(""),
                notice.where_().unwrap_or("")
            ));
        }
        if let Ok(rows) = self
            .quiet
            .query("SELECT query FROM pg_stat_statements", &[])
        {
            said.extend(rows.iter().map(|row| row.get::<_, String>(0)));
        }
        said
    }

    fn secrets(&mut self) -> Vec<(String, Vec<u8>)> {
        let mut secrets = Vec::new();
        for name in SECRET {
            let sql = "SELECT value FROM kept WHERE name = $1";
            let value: Option<String> = self.quiet.one(sql, &[name]);
            let value = value.unwrap_or_else(|| panic!("{name} did not come out"));
            secrets.push(((*name).to_owned(), value.into_bytes()));
        }
        let octets = "SELECT kid, secret FROM auth.signing_secrets";
        for row in self.quiet.rows(octets, &[]) {
            secrets.push((row.get(0), row.get(1)));
        }
        secrets
    }
}

fn preloaded() -> &'static str {
    let available =
        "SELECT count(*) FROM pg_available_extensions WHERE name = 'pg_stat_statements'";
    match shared().connect("postgres").one::<i64>(available, &[]) {
        0 => "",
        _ => "pg_stat_statements",
    }
}

#[test]
fn the_spellings_are_those_of_postgresql() {
    let mut a = shared().connect("postgres");
    let octets: Vec<u8> = (0..15).map(|n| n * 17 + 3).collect();
    for encoding in ["hex", "escape", "base64"] {
        let encoded: String = a.one("SELECT encode($1::bytea, $2)", &[&octets, &encoding]);
        assert!(
            spellings(&octets)
                .iter()
                .any(|spelling| encoded.contains(spelling)),
            "{encoding}: {encoded}"
        );
    }
    // And a Const in a plan, where a caller puts one.
    let (mut loud, heard) = shared().connect_with_notices("postgres");
    loud.run(
        "SET client_min_messages = log; SET debug_print_plan = on; SET debug_pretty_print = off",
    );
    loud.rows(
        "SELECT $1::bytea IS NULL, pg_sleep(0) WHERE length($1) > 3",
        &[&octets],
    );
    loud.run("SELECT '\\x03142536475869' :: bytea");
    let printed: String = heard
        .try_iter()
        .map(|notice| format!("{:?}", notice.detail()))
        .collect();
    assert!(printed.contains("3 20 37 54 71 88 105"), "{printed}");
}

#[test]
fn no_function_lets_postgresql_print_what_is_secret() {
    let cluster = Cluster::setup("plans")
        .setting("shared_preload_libraries", preloaded())
        .setting("log_min_messages", "debug5")
        .setting("log_min_error_statement", "debug5")
        .setting("log_error_verbosity", "verbose")
        .setting("wal_level", "logical")
        .start();
    let app = App::new(&cluster, "plans");
    let mut sweep = Sweep::new(&cluster, &app);
    if !preloaded().is_empty() {
        sweep.quiet.run("CREATE EXTENSION pg_stat_statements");
    }
    sweep.quiet.run(
        "INSERT INTO auth.issuers (issuer, audience, jwks_uri) VALUES ('other', '{a}', 'https://other.example');
         CREATE TABLE keys (id text PRIMARY KEY, user_id bigint, name text, key_hash text, prefix text);
         SELECT auth.attach_api_keys('keys');
         CREATE FUNCTION lose_secrets() RETURNS SETOF int LANGUAGE sql AS 'DELETE FROM auth.signing_secrets RETURNING 1';
         CREATE TABLE octets AS SELECT md5(random()::text) AS a, md5(random()::text) AS b",
    );
    let random: String = sweep.quiet.one("SELECT a || b FROM octets", &[]);
    sweep.put("hmac", &random);
    sweep.put("passphrase", &format!("correct {random} staple"));
    sweep.put(
        "jwk",
        &format!(
            r#"{{"kty":"oct","kid":"jwk","k":"{}"}}"#,
            base64(random.as_bytes().get(3..51).unwrap(), true)
        ),
    );
    sweep.put("pem", include_str!("../../jose/tests/keys/rsa.pkcs8.pem"));
    sweep.put(
        "jwks",
        &format!(
            r#"{{"keys":[{{"kty":"oct","k":"{}"}}]}}"#,
            base64(random.as_bytes().get(6..54).unwrap(), true)
        ),
    );
    let old = format!("rfs{}", random.chars().rev().collect::<String>());
    sweep.put("old_key", &old);
    sweep.put("unknown_key", &format!("rfs{}", random.get(5..60).unwrap()));
    // Cost 4, so that the test is quick.
    sweep.quiet.rows("INSERT INTO keys (id, user_id, name, prefix, key_hash) VALUES ('old', 41, 'old', left($1, 8), '$2b$04$' || repeat('a', 53))", &[&old]);
    // And one that is found by its hash, and gets its fingerprint.
    let hashed = format!("rfs{random}");
    let hash = service(&["hash"], &json!({"plain": hashed, "rounds": 4}));
    let hash = hash.as_str().unwrap();
    sweep.put("hashed_key", &hashed);
    sweep.put("key_hash", hash);
    sweep.quiet.rows("INSERT INTO keys (id, user_id, name, prefix, key_hash) VALUES ('hashed', 41, 'hashed', left($1, 8), $2)", &[&hashed, &hash]);
    for (name, expression) in CALLS {
        sweep.call(name, expression);
        if *name == "gone" {
            let token: String = sweep
                .quiet
                .one("SELECT value FROM kept WHERE name = 'token'", &[]);
            let (signed, signature) = token.rsplit_once('.').unwrap();
            sweep.put(
                "forged",
                &format!("{signed}.{}", signature.chars().rev().collect::<String>()),
            );
        }
    }
    let said = sweep.said();
    let mut proofs = vec!["signing_key_store", ":constvalue", "parse tree"];
    // Not every package has the module that says it; all else is swept there, too.
    if !cfg!(without = "auto_explain") {
        proofs.push("Query Text");
    }
    for proof in proofs {
        assert!(said.contains(proof), "the server says {proof}");
    }
    let filled = "SELECT key_fingerprint IS NOT NULL FROM keys WHERE id = 'hashed'";
    assert!(sweep.quiet.one::<bool>(filled, &[]));
    let secrets = sweep.secrets();
    assert!(
        secrets.len() >= SECRET.len() + 7,
        "the keys' octets are there"
    );
    for (name, secret) in &secrets {
        for part in secret_parts(secret) {
            for spelling in spellings(part) {
                if let Some(at) = said.find(&spelling) {
                    let from = said.floor_char_boundary(at.saturating_sub(600));
                    panic!("{name}: {spelling} in {}", &said[from..at]);
                }
            }
        }
    }
}

#[test]
fn every_function_with_a_secret_is_swept() {
    let db = shared().database("swept");
    let mut a = shared().connect(&db);
    let takers = "
        SELECT DISTINCT p.proname::text FROM pg_proc AS p
        JOIN pg_depend AS d ON d.classid = 'pg_proc'::regclass AND d.objid = p.oid AND d.deptype = 'e'
        JOIN pg_extension AS e ON e.oid = d.refobjid AND e.extname = 'auth_ext'
        WHERE EXISTS (
            SELECT FROM unnest(p.proargnames) AS a
            WHERE a IN ('token', 'key', 'handoff', 'passphrase', 'bundle', 'jwks', 'refresh_token', 'access_token')
        )";
    for row in a.rows(takers, &[]) {
        let name: String = row.get(0);
        let call = format!("auth.{name}(");
        assert!(
            CALLS
                .iter()
                .any(|(_, expression)| expression.contains(&call)),
            "{name} is swept"
        );
    }
}
