//! Sessions that a person can see: one row a login, refresh tokens that are used once.

use std::thread;
use std::time::Duration;

use auth_ext_tests::{
    App, Ask, Client, ISSUER, Mint, Value, assert_reason, refused, seconds, shared,
};

mod ends;
mod races;
mod refresh;

/// What a login gets.
struct Login {
    id: String,
    access: String,
    refresh: String,
}

fn open(client: &mut Client, user: &str) -> Login {
    open_with(client, user, "")
}

/// With further arguments, by name.
fn open_with(client: &mut Client, user: &str, more: &str) -> Login {
    let sql =
        format!("SELECT session_id, access_token, refresh_token FROM auth.open_session($1{more})");
    let row = client.rows(&sql, &[&user]).remove(0);
    Login {
        id: row.get(0),
        access: row.get(1),
        refresh: row.get(2),
    }
}

/// The next pair, or the reason.
fn refresh(client: &mut Client, token: &str) -> Result<Login, String> {
    refresh_on(client, token, None)
}

fn refresh_on(client: &mut Client, token: &str, device: Option<Value>) -> Result<Login, String> {
    let sql =
        "SELECT valid, reason, session_id, access_token, refresh_token, expires_at IS NOT NULL
               FROM auth.refresh_session($1, $2)";
    let row = client.rows(sql, &[&token, &device]).remove(0);
    if row.get(0) {
        assert_eq!(row.get::<_, Option<String>>(1), None);
        assert!(row.get::<_, bool>(5));
        return Ok(Login {
            id: row.get(2),
            access: row.get(3),
            refresh: row.get(4),
        });
    }
    for column in 2..5 {
        assert_eq!(row.get::<_, Option<String>>(column), None);
    }
    Err(row.get(1))
}

fn why<T>(outcome: Result<T, String>) -> String {
    outcome.err().unwrap_or_else(|| "valid".to_owned())
}

fn sessions(client: &mut Client, user: &str) -> Vec<String> {
    let rows = client.rows("SELECT session_id FROM auth.list_sessions($1)", &[&user]);
    rows.iter().map(|row| row.get(0)).collect()
}

/// Later than the window in which a used token still gives a pair.
fn let_the_window_pass(client: &mut Client) {
    client.run(
        "UPDATE auth.sessions SET refresh_tokens = (
             SELECT coalesce(jsonb_agg(CASE WHEN t -> 1 = 'null' THEN t
                                            ELSE jsonb_build_array(t -> 0, (t ->> 1)::bigint - 11000000) END), '[]')
             FROM jsonb_array_elements(refresh_tokens) AS t)",
    );
}

#[test]
fn a_login_has_an_access_token_with_its_session_and_the_time_of_the_login() {
    for app in App::of_every_shape(shared(), "logins") {
        let mut a = app.connect();
        let before = seconds(&mut a);
        let login = open_with(
            &mut a,
            app.ada,
            r#", claims => '{"role":"editor","big":1e300}'"#,
        );
        let claims: Value = a.one("SELECT auth.verify_jwt($1)", &[&login.access]);
        assert_eq!(claims["sub"], app.ada);
        assert_eq!(claims["sid"], *login.id);
        assert_eq!(claims["role"], "editor");
        let auth_time = claims["auth_time"].as_i64().expect("whole seconds");
        assert!((before..=before + 60).contains(&auth_time));
        assert_eq!(login.refresh.len(), 43);

        let next = refresh(&mut a, &login.refresh).unwrap_or_else(|why| panic!("{why}"));
        assert_eq!(next.id, login.id);
        assert_ne!(next.refresh, login.refresh);
        let claims: Value = a.one("SELECT auth.verify_jwt($1)", &[&next.access]);
        assert_eq!(claims["auth_time"], auth_time);
        assert_eq!(claims["role"], "editor", "kept for later tokens");
        assert_eq!(
            a.verdict(&login.access),
            "valid",
            "the former one until it expires"
        );
    }
}

#[test]
fn what_open_session_is_not_told_rightly_is_refused() {
    let app = App::new(shared(), "logins");
    let mut a = app.connect();
    for (arguments, sqlstate) in [
        ("'41', lifetime => '0'", "22023"),
        ("'41', lifetime => '-1 s'", "22023"),
        ("'41', lifetime => '300000 years'", "22023"),
        ("'41', claims => '{\"sid\":\"x\"}'", "22023"),
        ("'41', claims => '{\"auth_time\":1}'", "22023"),
        ("'41', claims => '{\"exp\":1}'", "22023"),
        ("'41', claims => '[]'", "22023"),
        ("'41', device => '7'", "22023"),
        ("'41', issuer => 'nobody'", "22023"),
        ("'77'", "28000"),
        ("NULL", "28000"),
    ] {
        let sql = format!("SELECT auth.open_session({arguments})");
        refused(a.query(&sql, &[]), sqlstate, None);
    }
    assert_reason(
        &mut a,
        "SELECT auth.open_session('77')",
        &[],
        "unknown_user",
    );
    a.run("UPDATE users SET is_active = false WHERE id = 42");
    assert_reason(
        &mut a,
        "SELECT auth.open_session('42')",
        &[],
        "inactive_user",
    );
    // The members of a session's token are another's to give elsewhere.
    let token: String = a.one(
        r#"SELECT auth.issue_jwt('41', claims => '{"auth_time":1}')"#,
        &[],
    );
    assert_eq!(a.verdict(&token), "valid");
}

#[test]
fn a_session_ends_when_its_lifetime_is_over_and_no_token_of_it_is_longer() {
    let app = App::new(shared(), "logins");
    let mut a = app.connect();
    let login = open_with(&mut a, app.ada, ", lifetime => '10 minutes'");
    let next = refresh(&mut a, &login.refresh).expect("a pair");
    let renewed: String = a.one("SELECT auth.refresh_jwt($1)", &[&next.access]);
    for token in [&login.access, &next.access, &renewed] {
        let early: bool = a.one(
            "SELECT c.expires_at <= s.expires_at AND c.expires_at > s.expires_at - interval '2 s'
             FROM auth.check_jwt($1) AS c, auth.sessions AS s",
            &[token],
        );
        assert!(early);
    }
    let claims: Value = a.one("SELECT auth.verify_jwt($1)", &[&renewed]);
    assert_eq!(claims["sid"], *login.id, "refresh_jwt keeps the session");
    // A token that by itself would hold longer: the issuer's lifetime of sessions is cut afterwards.
    a.run("UPDATE auth.sessions SET expires_at = clock_timestamp() + interval '3 s'");
    assert_eq!(a.verdict(&login.access), "valid");
    assert!(
        a.query("SELECT auth.verify_jwt($1)", &[&login.access])
            .is_ok()
    );
    thread::sleep(Duration::from_millis(3100));
    assert_eq!(a.verdict(&login.access), "session_ended");
    assert_reason(
        &mut a,
        "SELECT auth.verify_jwt($1)",
        &[&login.access],
        "session_ended",
    );
    assert_eq!(why(refresh(&mut a, &next.refresh)), "expired");
    assert_eq!(sessions(&mut a, app.ada), [""; 0]);
}

#[test]
fn the_check_of_issued_at_and_of_no_users_apply_to_the_opening_of_the_session() {
    let app = App::new(shared(), "logins");
    let mut a = app.connect();
    a.run("UPDATE auth.issuers SET session_check = 'issued_at'");
    let login = open(&mut a, app.ada);
    let next = refresh(&mut a, &login.refresh).expect("a pair");
    a.bump("41");
    assert_eq!(why(refresh(&mut a, &next.refresh)), "issued_before_cutoff");
    a.run("UPDATE auth.issuers SET session_check = 'none'");
    let service = open(&mut a, "a service");
    let next = refresh(&mut a, &service.refresh).expect("a pair");
    assert_eq!(a.verdict(&next.access), "valid");
    assert_eq!(sessions(&mut a, "a service"), [service.id.as_str()]);
    assert!(a.one::<bool>("SELECT auth.end_session($1)", &[&service.id]));
    assert_eq!(a.verdict(&next.access), "session_ended");
}

#[test]
fn sid_means_something_for_issuers_with_sessions_only() {
    let app = App::new(shared(), "logins");
    let mut a = app.connect();
    let mint = Mint::new(&mut a);
    let now = seconds(&mut a);
    let token = |user: &str, sid: &str| {
        mint.sign(
            "JWT",
            &format!(
                r#"{{"iss":"{ISSUER}","aud":"app","sub":"{user}","iat":{now},"exp":{},"sid":{sid}}}"#,
                now + 600
            ),
        )
    };
    for sid in ["7", "\"x\"", "null"] {
        assert_eq!(a.verdict(&token("41", sid)), "valid");
    }
    let login = open(&mut a, app.ada);
    for (user, sid, verdict) in [
        ("41", "7".to_owned(), "invalid_claim"),
        ("41", "null".to_owned(), "invalid_claim"),
        ("41", "\"x\"".to_owned(), "session_ended"),
        ("41", "\"\"".to_owned(), "session_ended"),
        ("41", format!("\"{}\"", login.id), "valid"),
        ("42", format!("\"{}\"", login.id), "session_ended"),
    ] {
        let token = token(user, &sid);
        assert_eq!(a.verdict(&token), verdict, "{user} {sid}");
        let claims = a.query("SELECT auth.verify_jwt_claims($1)", &[&token]);
        assert!(claims.is_ok(), "verify_jwt_claims does not look");
    }
    // Also when every session is gone.
    a.run("DELETE FROM auth.sessions");
    assert_eq!(a.verdict(&token("41", "\"x\"")), "session_ended");
}
