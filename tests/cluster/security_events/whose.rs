//! Whose sessions an event ends: those of a `sid`, of a user by another column, of one tenant, of an account's user.

use super::{IDP, LOGOUT, access, event, provider, receive, token};
use auth_ext_tests::{App, Ask, Listener, Mint, Value, json, shared};

#[test]
fn a_logout_of_a_sid_ends_what_carries_it_and_nothing_else() {
    let app = App::new(shared(), "sid");
    let mut client = provider(&app);
    let mut listener = Listener::on(app.connect(), "auth_invalidation");
    let ended = access(&mut client, "41", Some("s-1"));
    let other = access(&mut client, "41", Some("s-2"));
    let without = access(&mut client, "41", None);
    let mut mint = app.connect();
    let own = Mint::new(&mut mint).token(&mut mint, &json!({"sub": "41", "sid": "s-1"}));
    listener.events();
    let mut running = app.connect();
    running.rows("SELECT auth.authenticate($1, 'session')", &[&ended]);
    let told = token(
        &mut client,
        None,
        json!({"sid": "s-1", "events": event(LOGOUT)}),
    );
    assert_eq!(receive(&mut client, &told), "backchannel-logout - t");
    assert_eq!(
        listener.payloads(),
        [r#"{"v":1,"kind":"session","sid":"s-1","user_id":"","reason":"backchannel-logout"}"#]
    );
    assert_eq!(client.verdict(&ended), "session_ended");
    for token in [&other, &without, &own] {
        assert_eq!(client.verdict(token), "valid");
    }
    let user: Option<String> = running.one("SELECT auth.user_id()", &[]);
    assert_eq!(user, None);
    assert_eq!(receive(&mut client, &told), "backchannel-logout - f");
    // It stays, whatever prune() does, while a key of the issuer can verify the token.
    let noted = "SELECT count(*) FROM auth.revoked_tokens";
    client.run(
        "UPDATE auth.signing_key_store SET created_at = now() - interval '2 years' WHERE kid = 'idp';
         UPDATE auth.revoked_tokens SET revoked_at = revoked_at - interval '1 year';
         UPDATE auth.revoked_tokens SET keep_until = now() - interval '1 s' WHERE keep_until < 'infinity'",
    );
    client.run("SELECT auth.prune()");
    assert_eq!(
        client.one::<i64>(noted, &[]),
        1,
        "the event itself is forgotten"
    );
    assert_eq!(client.verdict(&ended), "session_ended");
    client.run(&format!("SELECT auth.retire_signing_key('idp', '{IDP}', now() - interval '1 s'); SELECT auth.prune()"));
    assert_eq!(client.one::<i64>(noted, &[]), 0);
}

#[test]
fn the_subject_is_looked_up_as_an_access_tokens_user_is() {
    let app = App::new(shared(), "mapped");
    let mut client = provider(&app);
    client.run(&format!(
        "ALTER TABLE users ADD COLUMN sub text UNIQUE; UPDATE users SET sub = 'auth0|a' WHERE id::text = '41';
         UPDATE auth.issuers SET user_column = 'sub' WHERE issuer = '{IDP}'"
    ));
    let told = token(
        &mut client,
        None,
        json!({"sub": "41", "events": event(LOGOUT)}),
    );
    assert_eq!(receive(&mut client, &told), "backchannel-logout - f");
    let told = token(
        &mut client,
        None,
        json!({"sub": "auth0|a", "events": event(LOGOUT)}),
    );
    assert_eq!(receive(&mut client, &told), "backchannel-logout 41 t");
}

#[test]
fn of_the_tenants_of_a_template_each_ends_its_own_sessions() {
    let app = App::new(shared(), "tenants");
    let mut client = provider(&app);
    client.run(&format!(
        "UPDATE auth.issuers SET issuer = 'https://login.example/{{tid}}' WHERE issuer = '{IDP}'"
    ));
    let of = |tenant: &str, mut claims: Value| {
        claims["iss"] = json!(format!("https://login.example/{tenant}"));
        claims["tid"] = json!(tenant);
        claims
    };
    let access = json!({"aud": "app", "sub": "41", "sid": "s-1"});
    let a = token(&mut client, Some("JWT"), of("a", access.clone()));
    let b = token(&mut client, Some("JWT"), of("b", access));
    // The same jti, too, is another event of another tenant.
    let logout = json!({"sid": "s-1", "jti": "same", "events": event(LOGOUT)});
    let told = token(&mut client, None, of("a", logout.clone()));
    assert_eq!(receive(&mut client, &told), "backchannel-logout - t");
    assert_eq!(client.verdict(&a), "session_ended");
    assert_eq!(client.verdict(&b), "valid");
    let told = token(&mut client, None, of("b", logout));
    assert_eq!(receive(&mut client, &told), "backchannel-logout - t");
    assert_eq!(client.verdict(&b), "session_ended");
}

#[test]
fn an_account_of_an_attached_identities_table_is_its_users() {
    let app = App::new(shared(), "linked");
    let mut client = provider(&app);
    client.run(&format!(
        "CREATE TABLE accounts (id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, user_id bigint, provider text, subject text, UNIQUE (provider, subject));
         SELECT auth.attach_identities('accounts');
         INSERT INTO accounts (user_id, provider, subject) VALUES (41, 'idp', 'p-1');
         UPDATE auth.issuers SET identity_provider = 'idp', session_check = 'issued_at' WHERE issuer = '{IDP}'"
    ));
    let before = token(&mut client, None, json!({"aud": "app", "sub": "p-1"}));
    assert_eq!(client.verdict(&before), "valid");
    let told = token(
        &mut client,
        None,
        json!({"sub": "p-1", "events": event(LOGOUT)}),
    );
    assert_eq!(receive(&mut client, &told), "backchannel-logout 41 t");
    assert_eq!(client.verdict(&before), "issued_before_cutoff");
    client.run("DELETE FROM accounts");
    let told = token(
        &mut client,
        None,
        json!({"sub": "p-1", "events": event(LOGOUT)}),
    );
    assert_eq!(receive(&mut client, &told), "backchannel-logout - f");
}
