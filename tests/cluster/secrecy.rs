//! Secrets stay where they are: no other role reads them, and no log line or message holds them.

use auth_ext_tests::{App, Ask, Client, Cluster, DbError, refused, shared};

const SECRET: &str = "my-very-secret-hmac-key-0123456789";

/// Every text of an error that a client is sent.
fn texts(error: &DbError) -> String {
    format!("{error:?}")
}

#[test]
fn nobody_but_the_owner_reads_a_secret() {
    let app = App::new(shared(), "secrets");
    let role = format!("reader_{}", app.db);
    let mut admin = app.connect();
    admin.run(&format!(
        "SELECT auth.import_signing_key('{SECRET}', 'HS256'); ANALYZE auth.signing_key_store; ANALYZE auth.signing_secrets;
         CREATE ROLE {role} LOGIN; GRANT pg_read_all_settings, pg_read_all_stats TO {role};
         GRANT EXECUTE ON ALL FUNCTIONS IN SCHEMA auth TO {role}; GRANT SELECT ON auth.signing_keys TO {role}"
    ));
    let mut reader = shared().connect_as(&app.db, &role);
    for sql in [
        "TABLE auth.signing_key_store",
        "SELECT secret FROM auth.signing_secrets",
        "COPY auth.signing_key_store TO STDOUT",
        "COPY auth.signing_secrets TO STDOUT",
        "SELECT count(secret) FROM auth.signing_secrets",
        "UPDATE auth.signing_key_store SET kid = kid",
        "CREATE TABLE mine (LIKE auth.signing_key_store); INSERT INTO mine TABLE auth.signing_key_store",
        "TABLE auth.issuers",
        "TABLE auth.attached_tables",
        "TABLE auth.user_history",
    ] {
        refused(reader.batch_execute(sql), "42501", None);
    }
    let statistics = "SELECT count(*) FROM pg_stats WHERE schemaname = 'auth'";
    assert_eq!(reader.one::<i64>(statistics, &[]), 0);
    // The view, for which a grant was made, has no secret, and its barrier hides the table from functions.
    let seen: String = reader.one(
        "SELECT string_agg(k::text, ' ') FROM auth.signing_keys k",
        &[],
    );
    let hex: String = SECRET.bytes().map(|byte| format!("{byte:02x}")).collect();
    assert!(!seen.contains(SECRET) && !seen.contains(&hex), "{seen}");
    let jwks: String = reader.one("SELECT auth.jwks()::text", &[]);
    assert!(!jwks.contains("oct") && !jwks.contains("\"d\""), "{jwks}");
    let columns = "SELECT count(*) FROM pg_attribute
                   WHERE attrelid = 'auth.signing_keys'::regclass AND atttypid = 'bytea'::regtype";
    assert_eq!(admin.one::<i64>(columns, &[]), 0);
}

/// Statements that fail inside the extension, with a credential as a literal, as a parameter, in PL/pgSQL.
fn provoke(client: &mut Client, token: &str) -> Vec<DbError> {
    let (signed, _) = token.rsplit_once('.').unwrap();
    let forged = format!("{signed}.AAAA");
    let statements = [
        format!("SELECT auth.verify_jwt('{forged}')"),
        format!("SELECT auth.verify_jwt('{token}')"),
        format!("SELECT auth.decode_jwt('{signed}')"),
        format!("SELECT auth.verify_jwt_claims('{forged}')"),
        format!("DO $$ BEGIN PERFORM auth.verify_jwt('{forged}'); END $$"),
        format!("DO $$ BEGIN EXECUTE 'SELECT auth.verify_jwt(''{forged}'')'; END $$"),
        format!("SELECT auth.import_signing_key('{SECRET}', 'HS512')"),
        format!("SELECT auth.import_signing_key('{SECRET}', 'ES256')"),
        format!("SELECT auth.import_signing_key('{SECRET}', 'HS256', 'no such issuer')"),
        format!("SELECT auth.import_signing_key('{SECRET}', 'HS256', kid => 'taken')"),
        format!("SELECT auth.import_signing_key('{SECRET}', 'none')"),
        format!("SELECT auth.import_jwks('{{\"{SECRET}\":1}}')"),
        format!("SELECT auth.issue_jwt('41', claims => '{{\"sub\":\"{SECRET}\"}}')"),
        format!("SELECT auth.issue_jwt('41', claims => '[\"{SECRET}\"]')"),
        format!("SELECT auth.issue_jwt('{SECRET}')"),
        format!("SELECT auth.bump_session_version('{SECRET}')"),
    ];
    let mut errors: Vec<DbError> = statements
        .iter()
        .map(|sql| match client.batch_execute(sql) {
            Err(error) => error.as_db_error().unwrap().clone(),
            Ok(()) => panic!("accepted: {sql}"),
        })
        .collect();
    for (sql, parameter) in [
        ("SELECT auth.verify_jwt($1)", forged.as_str()),
        ("SELECT auth.import_signing_key($1, 'HS512')", SECRET),
    ] {
        let error = client.query(sql, &[&parameter]).unwrap_err();
        errors.push(error.as_db_error().unwrap().clone());
    }
    errors
}

#[test]
fn no_message_and_no_log_line_holds_a_token_or_a_secret() {
    let cluster = Cluster::setup("secrecy")
        .setting("log_statement", "none")
        .setting("log_min_error_statement", "error")
        .setting("log_min_messages", "debug1")
        .setting("log_error_verbosity", "verbose")
        .setting("log_parameter_max_length_on_error", "-1")
        .environment("RUST_BACKTRACE", "1")
        .start();
    let app = App::new(&cluster, "log");
    let (mut a, token) = with_ended_token(&app);
    a.run("SELECT 1/1");
    refused(
        a.batch_execute("SELECT 'the log is written' FROM nowhere"),
        "42P01",
        None,
    );
    let errors = provoke(&mut a, &token);
    let (header, rest) = token.split_once('.').unwrap();
    let (payload, signature) = rest.split_once('.').unwrap();
    let log = cluster.log();
    assert!(log.contains("the log is written"), "statements are logged");
    for secret in [SECRET, payload, signature, header] {
        let line = log.lines().find(|line| line.contains(secret));
        assert_eq!(line, None, "in the log");
    }
    for error in &errors {
        let sent = DbErrorWithoutContext(error);
        assert!(
            ![SECRET, payload, signature]
                .iter()
                .any(|secret| sent.text().contains(secret)),
            "{error:?}"
        );
        assert!(!texts(error).contains("backtrace"), "{error:?}");
    }
}

/// What we say of an error: all but the context, in which PL/pgSQL and the protocol name what they run.
struct DbErrorWithoutContext<'e>(&'e DbError);

impl DbErrorWithoutContext<'_> {
    fn text(&self) -> String {
        let DbErrorWithoutContext(error) = self;
        format!(
            "{} {:?} {:?}",
            error.message(),
            error.detail(),
            error.hint()
        )
    }
}

/// A connection of an application in which a key is called `taken`, and a token of a user whose sessions were ended.
fn with_ended_token(app: &App<'_>) -> (Client, String) {
    let mut a = app.connect();
    a.rows(
        "SELECT auth.import_signing_key($1, 'HS256', kid => 'taken')",
        &[&SECRET],
    );
    let token = a.issue("41");
    a.bump("41");
    (a, token)
}

#[test]
fn no_context_that_a_client_is_sent_holds_a_token() {
    let app = App::new(shared(), "context");
    let (mut a, token) = with_ended_token(&app);
    let payload = token.split('.').nth(1).unwrap();
    for error in provoke(&mut a, &token) {
        assert!(
            !texts(&error).contains(payload) && !texts(&error).contains(SECRET),
            "{error:?}"
        );
    }
}
