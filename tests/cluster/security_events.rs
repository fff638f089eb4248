//! `receive_security_event`: what a provider POSTs, made by PyJWT. What a token must say is shown in `jose/src/security_event.rs`.

use std::thread;

use auth_ext_tests::{
    App, Ask, Client, Cluster, Listener, Mint, Value, json, refused, service, shared,
};

const IDP: &str = "https://idp.example";
const SECRET: &str = "auth-ext-interop-secret-0123456789abcdef";
const LOGOUT: &str = "http://schemas.openid.net/event/backchannel-logout";
const CAEP: &str = "https://schemas.openid.net/secevent/caep/event-type";
const RISC: &str = "https://schemas.openid.net/secevent/risc/event-type";

/// A provider whose tokens have no version and whose events are for the client `client`.
fn provider(app: &App<'_>) -> Client {
    let mut client = app.connect();
    client.run(&format!(
        "INSERT INTO auth.issuers (issuer, audience, session_check, security_events, event_audience)
         VALUES ('{IDP}', '{{app}}', 'version', true, '{{client}}')"
    ));
    client.rows(
        "SELECT auth.import_signing_key($1, 'HS256', $2, 'idp')",
        &[&SECRET, &IDP],
    );
    client
}

/// A token of that provider: these claims beside `iss`, `aud`, `iat`, `exp`, `jti`, which null takes out.
fn token(client: &mut Client, typ: Option<&str>, claims: Value) -> String {
    let now = auth_ext_tests::seconds(client);
    let id: String = client.one("SELECT gen_random_uuid()::text", &[]);
    let mut all = json!({"iss": IDP, "aud": "client", "iat": now - 5, "exp": now + 120, "jti": id});
    let members = all.as_object_mut().unwrap();
    members.extend(claims.as_object().unwrap().clone());
    members.retain(|_, value| !value.is_null());
    let input = json!({"claims": all, "headers": {"typ": typ, "kid": "idp"}});
    service(&["event"], &input).as_str().unwrap().to_owned()
}

fn event(uri: &str) -> Value {
    let mut events = json!({});
    events[uri] = json!({});
    events
}

/// An access token of the provider.
fn access(client: &mut Client, user: &str, sid: Option<&str>) -> String {
    token(
        client,
        Some("JWT"),
        json!({"aud": "app", "sub": user, "sid": sid}),
    )
}

fn receive(client: &mut Client, token: &str) -> String {
    client.one(
        "SELECT concat_ws(' ', event, coalesce(user_id, '-'), done) FROM auth.receive_security_event($1)",
        &[&token],
    )
}

fn no(client: &mut Client, token: &str, reason: &str) {
    refused(
        client.query("SELECT auth.receive_security_event($1)", &[&token]),
        "28000",
        reason,
    );
}

#[test]
fn each_event_ends_the_users_sessions_once_and_says_so() {
    let app = App::new(shared(), "events");
    let mut client = provider(&app);
    let mut listener = Listener::on(app.connect(), "auth_invalidation");
    let events = [
        (Some("logout+jwt"), LOGOUT.to_owned(), "backchannel-logout"),
        (Some("JWT"), LOGOUT.to_owned(), "backchannel-logout"),
        (None, LOGOUT.to_owned(), "backchannel-logout"),
        (
            Some("secevent+jwt"),
            format!("{CAEP}/session-revoked"),
            "session-revoked",
        ),
        (
            Some("secevent+jwt"),
            format!("{CAEP}/credential-change"),
            "credential-change",
        ),
        (
            Some("secevent+jwt"),
            format!("{RISC}/account-disabled"),
            "account-disabled",
        ),
        (
            Some("secevent+jwt"),
            format!("{RISC}/account-purged"),
            "account-purged",
        ),
        (
            Some("secevent+jwt"),
            format!("{RISC}/sessions-revoked"),
            "sessions-revoked",
        ),
    ];
    for (typ, uri, name) in events {
        let own = client.issue("41");
        assert_eq!(client.verdict(&own), "valid");
        let told = token(
            &mut client,
            typ,
            json!({"sub": "41", "events": event(&uri)}),
        );
        assert_eq!(receive(&mut client, &told), format!("{name} 41 t"));
        assert_eq!(client.verdict(&own), "session_version_mismatch");
        let heard = listener.events();
        assert_eq!(heard.len(), 1, "{heard:?}");
        assert_eq!(heard[0]["kind"], "user");
        assert_eq!(heard[0]["reason"], name);
        // Once.
        assert_eq!(receive(&mut client, &told), format!("{name} 41 f"));
        assert!(listener.events().is_empty());
        // Nor is it good for anything else.
        for call in [
            "verify_jwt",
            "verify_jwt_claims",
            "authenticate",
            "refresh_jwt",
            "revoke_jwt",
        ] {
            refused(
                client.query(&format!("SELECT auth.{call}($1)"), &[&told]),
                "28000",
                "wrong_purpose",
            );
        }
    }
    let by_id = json!({"format": "iss_sub", "iss": IDP, "sub": "41"});
    let told = token(
        &mut client,
        Some("secevent+jwt"),
        json!({"sub_id": by_id, "exp": null, "events": event(&format!("{CAEP}/session-revoked"))}),
    );
    assert_eq!(receive(&mut client, &told), "session-revoked 41 t");
}

#[test]
fn what_names_nobody_here_or_is_another_event_ends_nothing() {
    let app = App::new(shared(), "nobody");
    let mut client = provider(&app);
    let unknown = token(
        &mut client,
        None,
        json!({"sub": "999999", "events": event(LOGOUT)}),
    );
    assert_eq!(receive(&mut client, &unknown), "backchannel-logout - f");
    let no_id = token(
        &mut client,
        None,
        json!({"sub": "x'y", "events": event(LOGOUT)}),
    );
    assert_eq!(receive(&mut client, &no_id), "backchannel-logout - f");
    let uri = format!("{CAEP}/token-claims-change");
    let other = token(
        &mut client,
        Some("secevent+jwt"),
        json!({"sub": "41", "events": event(&uri)}),
    );
    assert_eq!(receive(&mut client, &other), format!("{uri} - f"));
    let version: i64 = client.one("SELECT auth.session_version('41')", &[]);
    assert_eq!(version, 0);
}

#[test]
fn what_the_rules_refuse_is_refused_with_its_reason() {
    let app = App::new(shared(), "refusals");
    let mut client = provider(&app);
    let now = auth_ext_tests::seconds(&mut client);
    for (claims, reason) in [
        (json!({"events": null, "nonce": "n"}), "wrong_purpose"),
        (json!({"nonce": "n"}), "invalid_claim"),
        (json!({"events": {}}), "invalid_claim"),
        (json!({"events": [LOGOUT]}), "invalid_claim"),
        (json!({"aud": "app"}), "wrong_audience"),
        (json!({"aud": null}), "missing_claim"),
        (json!({"iat": null}), "missing_claim"),
        (json!({"iat": now - 86_500, "exp": null}), "expired"),
        (json!({"iat": now + 600}), "not_yet_valid"),
        (json!({"exp": now - 1}), "expired"),
        (json!({"jti": null}), "missing_claim"),
        (json!({"sub": null}), "missing_claim"),
        (
            json!({"sub_id": {"format": "iss_sub", "iss": IDP, "sub": "42"}}),
            "invalid_claim",
        ),
        (json!({"iss": "https://other.example"}), "wrong_issuer"),
    ] {
        let mut all = json!({"sub": "41", "events": event(LOGOUT)});
        all.as_object_mut()
            .unwrap()
            .extend(claims.as_object().unwrap().clone());
        let told = token(&mut client, Some("logout+jwt"), all);
        no(&mut client, &told, reason);
    }
    let good = token(
        &mut client,
        None,
        json!({"sub": "41", "events": event(LOGOUT)}),
    );
    let (signed, _) = good.rsplit_once('.').unwrap();
    no(&mut client, &format!("{signed}.AAAA"), "bad_signature");
    no(&mut client, "", "malformed");
    refused(
        client.query("SELECT auth.receive_security_event(NULL)", &[]),
        "28000",
        "malformed",
    );
    // Rules for access tokens do not touch it.
    client.run(&format!(
        r#"UPDATE auth.issuers SET required_claims = '{{"scope": "api"}}', token_types = '{{at+jwt}}', audience_claim = 'azp' WHERE issuer = '{IDP}'"#
    ));
    assert_eq!(receive(&mut client, &good), "backchannel-logout 41 t");
    let other = token(
        &mut client,
        None,
        json!({"sub": "41", "events": event(LOGOUT)}),
    );
    client.run(&format!(
        "UPDATE auth.issuers SET security_events = false WHERE issuer = '{IDP}'"
    ));
    no(&mut client, &other, "wrong_issuer");
    let version: i64 = client.one("SELECT auth.session_version('41')", &[]);
    assert_eq!(version, 1);
}

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
fn of_two_deliveries_at_once_one_acts() {
    let app = App::new(shared(), "twice");
    let mut client = provider(&app);
    for round in 1..=5_i64 {
        let told = token(
            &mut client,
            None,
            json!({"sub": "41", "events": event(LOGOUT)}),
        );
        let mut clients = [app.connect(), app.connect(), app.connect()];
        let mut answers = thread::scope(|scope| {
            let calls = clients
                .each_mut()
                .map(|client| scope.spawn(|| receive(client, &told)));
            calls.map(|call| call.join().unwrap())
        });
        answers.sort();
        assert_eq!(
            answers,
            [
                "backchannel-logout 41 f",
                "backchannel-logout 41 f",
                "backchannel-logout 41 t"
            ]
        );
        let version: i64 = client.one("SELECT auth.session_version('41')", &[]);
        assert_eq!(version, round);
    }
    // One that is rolled back was not received.
    let told = token(
        &mut client,
        None,
        json!({"sub": "41", "events": event(LOGOUT)}),
    );
    client.run("BEGIN");
    assert_eq!(receive(&mut client, &told), "backchannel-logout 41 t");
    client.run("ROLLBACK");
    assert_eq!(receive(&mut client, &told), "backchannel-logout 41 t");
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
fn a_standby_refuses_to_receive_and_obeys_what_the_primary_received() {
    let primary = Cluster::start("events_primary");
    let app = App::new(&primary, "events");
    let mut client = provider(&app);
    let standby = Cluster::start_standby(&primary);
    let carried = access(&mut client, "41", Some("s-1"));
    let by_sid = token(
        &mut client,
        None,
        json!({"sid": "s-1", "events": event(LOGOUT)}),
    );
    let by_user = token(
        &mut client,
        None,
        json!({"sub": "41", "events": event(LOGOUT)}),
    );
    standby.wait_replay(&primary);
    let mut reader = standby.connect(&app.db);
    assert_eq!(reader.verdict(&carried), "valid");
    for told in [&by_sid, &by_user] {
        refused(
            reader.query("SELECT auth.receive_security_event($1)", &[&told]),
            "25006",
            None,
        );
    }
    assert_eq!(receive(&mut client, &by_sid), "backchannel-logout - t");
    standby.wait_replay(&primary);
    assert_eq!(reader.verdict(&carried), "session_ended");
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
