//! A real PostgREST before the database: what it lets in by signature alone, `auth.pre_request` looks at again.

use std::collections::HashSet;
use std::sync::Once;
use std::thread;

use auth_ext_tests::{App, Ask, Client, Mint, Postgrest, Request, Response, Value, json, shared};

const PRE_REQUEST: (&str, &str) = ("db-pre-request", "auth.pre_request");
const SECRET: (&str, &str) = ("jwt-secret", "0123456789abcdef0123456789abcdef");
/// PostgREST then knows by heart that a signature was good.
const CACHE: (&str, &str) = ("jwt-cache-max-lifetime", "3600");
const ONE_CONNECTION: (&str, &str) = ("db-pool", "1");
const SETTINGS: &[(&str, &str)] = &[PRE_REQUEST, SECRET, CACHE, ONE_CONNECTION];

/// An application with a note of Ada's, one of Bob's, and one for everybody who is not logged in.
fn notes() -> (App<'static>, Client, Mint) {
    static ROLES: Once = Once::new();
    let app = App::new(shared(), "notes");
    let mut admin = app.connect();
    ROLES.call_once(|| {
        admin.run(
            "CREATE ROLE anon; CREATE ROLE editor; CREATE ROLE authenticator LOGIN NOINHERIT;
             GRANT anon, editor TO authenticator",
        );
    });
    admin.run(
        "CREATE TABLE notes (owner text DEFAULT auth.user_id(), body text);
         INSERT INTO notes VALUES ('41', 'ada''s'), ('42', 'bob''s'), (NULL, 'everybody''s');
         ALTER TABLE notes ENABLE ROW LEVEL SECURITY;
         CREATE POLICY own ON notes USING (owner = auth.user_id()) WITH CHECK (owner = auth.user_id());
         CREATE POLICY open ON notes FOR SELECT USING (owner IS NULL AND auth.user_id() IS NULL);
         GRANT SELECT, INSERT, UPDATE ON notes TO anon, editor;

         CREATE FUNCTION whoami() RETURNS json LANGUAGE sql AS $$
             SELECT json_build_object('user', auth.user_id(), 'role', current_user, 'pid', pg_backend_pid(),
                 'postgrest', current_setting('request.jwt.claims', true)::json ->> 'sub')
         $$;
         -- What a careless application, or one that was broken into, might let its users do.
         CREATE FUNCTION forge(name text, value text, for_transaction boolean) RETURNS json LANGUAGE plpgsql AS $$
         BEGIN
             PERFORM set_config(name, value, for_transaction);
             BEGIN
                 PERFORM auth.pre_request();
             EXCEPTION WHEN OTHERS THEN NULL;
             END;
             RETURN whoami();
         EXCEPTION WHEN OTHERS THEN RETURN whoami();
         END $$;
         CREATE FUNCTION stay(token text) RETURNS json LANGUAGE sql AS $$
             SELECT auth.authenticate(token, 'session'); SELECT whoami()
         $$;",
    );
    let mint = Mint::new(&mut admin);
    (app, admin, mint)
}

/// The bodies of the notes that a request sees.
fn bodies(response: &Response) -> Vec<&str> {
    assert_eq!(response.status, 200, "{response:?}");
    let rows = response.body.as_array().expect("rows");
    rows.iter()
        .map(|row| row["body"].as_str().unwrap())
        .collect()
}

/// The body of `rpc/whoami`, where it answers.
fn whoami(postgrest: &Postgrest, request: &Request) -> Value {
    let Response { status, body } = postgrest.answer(request);
    assert_eq!(status, 200, "{body}");
    body
}

#[track_caller]
fn assert_unauthorized(response: &Response, reason: &str) {
    let seen = (
        response.status,
        &response.body["code"],
        &response.body["details"],
    );
    assert_eq!(seen, (401, &json!("PT401"), &json!(reason)), "{response:?}");
}

#[test]
fn a_bearer_token_reads_and_writes_its_own_rows_only() {
    let (app, mut admin, mint) = notes();
    let postgrest = Postgrest::start(&app, SETTINGS);
    for role in [None, Some("editor")] {
        let claims = json!({"sub": app.ada, "role": role});
        let ada = mint.token(&mut admin, &claims);
        let me = whoami(&postgrest, &Request::get("/rpc/whoami").bearer(&ada));
        assert_eq!(me["user"], app.ada);
        assert_eq!(me["role"], role.unwrap_or("anon"));

        let read = postgrest.answer(&Request::get("/notes").bearer(&ada));
        assert!(
            bodies(&read).iter().all(|body| body.starts_with("ada")),
            "{read:?}"
        );
        let insert = |note: &Value| postgrest.answer(&Request::post("/notes", note).bearer(&ada));
        assert_eq!(insert(&json!({"body": "ada's too"})).status, 201);
        let stolen = insert(&json!({"body": "x", "owner": app.bob}));
        // PostgREST's 403 is a 401 for its anonymous role.
        let forbidden = if role.is_none() { 401 } else { 403 };
        assert_eq!(
            (stolen.status, &stolen.body["code"]),
            (forbidden, &json!("42501"))
        );
        let update = |note: &Value| postgrest.answer(&Request::patch("/notes", note).bearer(&ada));
        assert_eq!(update(&json!({"body": "ada's new"})).status, 204);
        assert_eq!(update(&json!({"owner": app.bob})).status, forbidden);
    }
    let all = "SELECT string_agg(body, ',' ORDER BY body) FROM notes";
    let all: String = admin.one(all, &[]);
    assert_eq!(all, "ada's new,ada's new,ada's new,bob's,everybody's");
}

#[test]
fn postgrest_needs_no_secret_of_ours_where_keys_are_pairs() {
    let (app, mut admin, _) = notes();
    let jwks: Value = admin.one("SELECT auth.jwks()", &[]);
    let public = ("jwt-secret", &*jwks.to_string());
    let postgrest = Postgrest::start(&app, &[PRE_REQUEST, public]);
    let issue = "SELECT auth.issue_jwt($1, claims => '{\"role\":\"editor\"}')";
    let ada: String = admin.one(issue, &[&app.ada]);
    let request = Request::get("/rpc/whoami").bearer(&ada);
    let me = whoami(&postgrest, &request);
    assert_eq!(
        (&me["user"], &me["role"]),
        (&json!(app.ada), &json!("editor"))
    );
    admin.bump(app.ada);
    assert_unauthorized(&postgrest.answer(&request), "session_version_mismatch");
}

#[test]
fn without_a_bearer_token_nobody_is_authenticated() {
    let (app, ..) = notes();
    let postgrest = Postgrest::start(&app, SETTINGS);
    let read = Request::get("/notes");
    for request in [
        read.clone(),
        read.header("Authorization", "Basic YWRhOmFkYQ=="),
    ] {
        assert_eq!(bodies(&postgrest.answer(&request)), ["everybody's"]);
    }
    let insert = postgrest.answer(&Request::post("/notes", &json!({"body": "x"})));
    assert_eq!(
        (insert.status, &insert.body["code"]),
        (401, &json!("42501"))
    );
}

#[test]
fn a_token_that_ended_is_401_with_the_reason_though_postgrest_accepts_its_signature() {
    let (app, mut admin, mint) = notes();
    let postgrest = Postgrest::start(&app, SETTINGS);
    let trusting = Postgrest::start(&app, &[SECRET, CACHE]);
    for (end, undo, reason) in [
        (
            "SELECT auth.bump_session_version('41')",
            "",
            "session_version_mismatch",
        ),
        ("SELECT auth.revoke_jwt($TOKEN)", "", "revoked"),
        (
            "UPDATE users SET is_active = false WHERE id = 41",
            "UPDATE users SET is_active = true WHERE id = 41",
            "inactive_user",
        ),
        (
            "UPDATE auth.issuers SET not_before = clock_timestamp() + interval '1 s'",
            "UPDATE auth.issuers SET not_before = NULL",
            "issued_before_cutoff",
        ),
        (
            "DELETE FROM users WHERE id = 41",
            "INSERT INTO users (id) VALUES (41)",
            "unknown_user",
        ),
        ("SELECT auth.retire_signing_key('mint')", "", "unknown_key"),
    ] {
        let version = admin.version(app.ada);
        let claims = json!({"sub": app.ada, "role": "editor", "session_version": version});
        let token = mint.token(&mut admin, &claims);
        let request = Request::get("/rpc/whoami").bearer(&token);
        assert_eq!(whoami(&postgrest, &request)["user"], app.ada);
        admin.run(&end.replace("$TOKEN", &format!("'{token}'")));
        let me = whoami(&trusting, &request);
        assert_eq!(
            (&me["postgrest"], &me["user"]),
            (&json!(app.ada), &Value::Null),
            "{reason}"
        );
        for path in ["/rpc/whoami", "/notes", "/"] {
            let request = Request::get(path).bearer(&token);
            assert_unauthorized(&postgrest.answer(&request), reason);
        }
        let insert = Request::post("/notes", &json!({"body": "x"})).bearer(&token);
        assert_unauthorized(&postgrest.answer(&insert), reason);
        admin.run(undo);
    }
    assert_eq!(admin.one::<i64>("SELECT count(*) FROM notes", &[]), 3);
}

#[test]
fn however_the_header_is_written_an_ended_token_is_nobody() {
    let (app, mut admin, mint) = notes();
    let postgrest = Postgrest::start(&app, SETTINGS);
    let mut editor = |user: &str| mint.token(&mut admin, &json!({"sub": user, "role": "editor"}));
    let (ended, bob) = (editor(app.ada), editor(app.bob));
    admin.bump(app.ada);
    let me = Request::get("/rpc/whoami");
    // PostgREST takes any white space for a space.
    for space in ["\t", "\u{b}", "  "] {
        let header = format!("Bearer{space}{ended}");
        let answer = postgrest.answer(&me.clone().header("Authorization", header));
        assert_unauthorized(&answer, "session_version_mismatch");
    }
    // It takes its role from the first of several headers, and shows the last: whose role that is, is its own business.
    let basic = me
        .clone()
        .bearer(&ended)
        .header("Authorization", "Basic YWRhOmFkYQ==");
    assert_eq!(whoami(&postgrest, &basic)["user"], Value::Null);
    let twice = me.bearer(&ended).bearer(&bob);
    assert_eq!(whoami(&postgrest, &twice)["user"], app.bob);
}

#[test]
fn claims_of_any_kind_are_the_same_token_to_postgrest_and_to_us() {
    let (app, mut admin, mint) = notes();
    let settings = [SETTINGS, &[("jwt-role-claim-key", ".app.roles[0]")]].concat();
    let postgrest = Postgrest::start(&app, &settings);
    let claims = json!({
        "sub": app.ada, "app": {"roles": ["editor", "x"]}, "role": "is another", "aud": ["app"], "iat": 1_700_000_000.25,
        "numbers": [0.1, -0.0, 1e300, 1.5e9, 123_456_789_012_345_678_u64], "text": "é \"\\\n\u{1} 🙂", "none": [null, {}, [], ""],
    });
    let token = mint.token(&mut admin, &claims);
    let me = whoami(&postgrest, &Request::get("/rpc/whoami").bearer(&token));
    assert_eq!(
        (&me["user"], &me["role"]),
        (&json!(app.ada), &json!("editor"))
    );
}

#[test]
fn forged_claims_and_headers_change_nothing() {
    let (app, mut admin, mint) = notes();
    let postgrest = Postgrest::start(&app, SETTINGS);
    let bob = mint.token(&mut admin, &json!({"sub": app.bob, "role": "editor"}));
    let ended = mint.token(&mut admin, &json!({"sub": app.ada, "role": "editor"}));
    admin.bump(app.ada);
    let unsigned = ended.rsplit_once('.').expect("a signature").0.to_owned() + ".";
    let adas = json!({"sub": app.ada, "role": "editor"}).to_string();
    let header = |token: &str| json!({"authorization": format!("Bearer {token}")}).to_string();
    let forgeries = [
        ("request.jwt.claims", adas.clone()),
        ("request.jwt.claim.sub", app.ada.to_owned()),
        ("request.headers", header(&unsigned)),
        ("request.headers", header(&ended)),
        ("request.headers", "[".to_owned()),
        ("auth_ext.identity", format!("token {ended}")),
        ("auth_ext.session_identity", format!("token {ended}")),
    ];
    let bobs = |request: Request| request.bearer(&bob);
    let nobodys = |request: Request| request;
    let callers: [(&dyn Fn(Request) -> Request, Value); 2] =
        [(&bobs, json!(app.bob)), (&nobodys, Value::Null)];
    for (caller, user) in callers {
        for (name, value) in &forgeries {
            // Also for the whole session, which the connection's next request shares.
            for for_transaction in [true, false] {
                let forgery =
                    json!({"name": name, "value": value, "for_transaction": for_transaction});
                let me = whoami(&postgrest, &caller(Request::post("/rpc/forge", &forgery)));
                assert_eq!(me["user"], user, "{forgery}");
                let next = whoami(&postgrest, &Request::get("/rpc/whoami"));
                assert_eq!(
                    (&next["user"], &next["pid"]),
                    (&Value::Null, &me["pid"]),
                    "{forgery}"
                );
            }
        }
        // By HTTP itself.
        let dressed_up = Request::get("/rpc/whoami")
            .header("request.jwt.claims", &adas)
            .header("X-\"", format!("\"}},\"authorization\":\"Bearer {ended}"))
            .header("Proxy-Authorization", format!("Bearer {ended}"))
            .header("Cookie", format!("authorization=Bearer {ended}"));
        assert_eq!(whoami(&postgrest, &caller(dressed_up))["user"], user);
    }
    let status = |token: &str| {
        postgrest
            .answer(&Request::get("/notes").bearer(token))
            .status
    };
    assert_eq!([status(&unsigned), status("x"), status("")], [401; 3]);
}

#[test]
fn a_pooled_connection_carries_no_identity_into_the_next_request() {
    let (app, mut admin, mint) = notes();
    let postgrest = Postgrest::start(&app, SETTINGS);
    let ada = mint.token(&mut admin, &json!({"sub": app.ada}));
    let me = Request::get("/rpc/whoami");
    for (before, status) in [
        (me.clone().bearer(&ada), 200),
        (Request::get("/notes?owner=eq.41").bearer(&ada), 200),
        (Request::get("/nowhere").bearer(&ada), 404),
        (
            Request::post("/notes", &json!({"owner": app.bob})).bearer(&ada),
            401,
        ),
        // An identity of the session is hidden from requests.
        (Request::post("/rpc/stay", &json!({"token": ada})), 200),
    ] {
        let first = whoami(&postgrest, &me.clone().bearer(&ada));
        assert_eq!(first["user"], app.ada);
        assert_eq!(postgrest.answer(&before).status, status, "{before:?}");
        let next = whoami(&postgrest, &me);
        assert_eq!(
            (&next["user"], &next["pid"]),
            (&Value::Null, &first["pid"]),
            "{before:?}"
        );
        assert_eq!(
            bodies(&postgrest.answer(&Request::get("/notes"))),
            ["everybody's"]
        );
    }
}

#[test]
fn concurrent_requests_never_see_each_others_rows() {
    let (app, mut admin, mint) = notes();
    let postgrest = Postgrest::start(&app, &[PRE_REQUEST, SECRET, CACHE, ("db-pool", "3")]);
    let mut asking = |user: &str| {
        let token = mint.token(&mut admin, &json!({"sub": user}));
        (
            Request::get("/notes").bearer(&token),
            Request::get("/rpc/whoami").bearer(&token),
        )
    };
    let ada = (asking(app.ada), "ada's", json!(app.ada));
    let bob = (asking(app.bob), "bob's", json!(app.bob));
    let nobody = (
        (Request::get("/notes"), Request::get("/rpc/whoami")),
        "everybody's",
        Value::Null,
    );
    let served: HashSet<(i64, &str)> = thread::scope(|scope| {
        let ask = |((notes, me), body, user): &'_ ((Request, Request), &'static str, Value)| {
            let mut served = HashSet::new();
            for _ in 0..50 {
                assert_eq!(bodies(&postgrest.answer(notes)), [*body]);
                let me = whoami(&postgrest, me);
                assert_eq!(me["user"], *user);
                served.insert((me["pid"].as_i64().expect("a process id"), *body));
            }
            served
        };
        let clients = [&ada, &bob, &nobody, &ada, &bob, &nobody];
        let clients = clients.map(|who| scope.spawn(move || ask(who)));
        clients
            .into_iter()
            .flat_map(|client| client.join().expect("a client"))
            .collect()
    });
    let pids: HashSet<_> = served.iter().map(|(pid, _)| pid).collect();
    assert!(
        pids.len() <= 3,
        "more connections than the pool has: {served:?}"
    );
    assert!(
        served.len() > pids.len(),
        "no connection was shared: {served:?}"
    );
}
