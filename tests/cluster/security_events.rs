//! `receive_security_event`: what a provider POSTs, made by PyJWT. What a token must say is shown in `jose/src/security_event.rs`.

mod whose;

use std::thread;

use auth_ext_tests::{App, Ask, Client, Cluster, Listener, Value, json, refused, service, shared};

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
