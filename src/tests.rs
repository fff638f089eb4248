//! Tests inside a backend: each SQL function once, and what SQL cannot reach. `tests/run` calls every function
//! of schema `tests` in a transaction of its own, rolled back; one that fails raises an error.

use pgrx::prelude::*;

#[pg_schema]
#[allow(
    clippy::module_inception,
    reason = "the name of the module is the name of the schema"
)]
mod tests {
    use std::rc::Rc;

    use jose::{Kid, UnixMicros};
    use pgrx::datum::{Interval, TimestampWithTimeZone};
    use pgrx::prelude::*;

    use crate::attach::UserId;
    use crate::invalidation::{Event, Reason};
    use crate::pg::clock;
    use crate::pg::json::Jsonb;
    use crate::{accounts, trust};

    const SECRET: &str = "auth-ext-backend-secret-0123456789abcdef";

    fn run(sql: &str) {
        if let Err(failure) = Spi::run(sql) {
            error!("{failure}: {sql}");
        }
    }

    /// The first column of the first row, as text.
    fn ask(sql: &str) -> Option<String> {
        match Spi::get_one::<String>(&format!("SELECT ({sql})::text")) {
            Ok(answer) => answer,
            Err(failure) => error!("{failure}: {sql}"),
        }
    }

    /// Fails unless the query's answer is `expected`; NULL is "NULL".
    fn expect(sql: &str, expected: &str) {
        let answer = ask(sql).unwrap_or_else(|| "NULL".to_owned());
        assert!(answer == expected, "{answer} instead of {expected}: {sql}");
    }

    /// An issuer with an HMAC key, and a users table with alice (active, version 0).
    fn set_up() {
        run(
            "INSERT INTO auth.issuers (issuer, audience) VALUES ('https://issuer.test', '{app.test}')",
        );
        expect(
            &format!("SELECT auth.import_signing_key('{SECRET}', 'HS256', kid => 'hmac')"),
            "hmac",
        );
        run("CREATE TABLE users (id text PRIMARY KEY, is_active boolean NOT NULL)");
        run("INSERT INTO users VALUES ('alice', true)");
        run("SELECT auth.attach_users('users')");
    }

    fn attached_ids(id_type: &str, id: &str) {
        run(&format!(
            "CREATE TABLE ids (id {id_type} PRIMARY KEY); INSERT INTO ids VALUES ('{id}')"
        ));
        run("SELECT auth.attach_users('ids')");
    }

    // ---- Each function of SQL -------------------------------------------------------------------------

    #[pg_extern]
    fn a_token_that_was_issued_verifies() {
        set_up();
        expect(
            "SELECT auth.verify_jwt(auth.issue_jwt('alice'))->>'sub'",
            "alice",
        );
        expect(
            "SELECT auth.verify_jwt_claims(auth.issue_jwt('alice'))->>'session_version'",
            "0",
        );
        expect(
            "SELECT auth.decode_jwt(auth.issue_jwt('alice'))->'header'->>'kid'",
            "hmac",
        );
    }

    #[pg_extern]
    fn check_jwt_reports_both_versions_of_an_ended_session() {
        set_up();
        let token = ask("SELECT auth.issue_jwt('alice')").unwrap_or_default();
        expect("SELECT auth.bump_session_version('alice')", "1");
        expect("SELECT auth.session_version('alice')", "1");
        expect(
            &format!(
                "SELECT concat_ws(' ', reason, session_version, current_session_version) FROM auth.check_jwt('{token}')"
            ),
            "session_version_mismatch 0 1",
        );
    }

    #[pg_extern]
    fn who_authenticates_is_the_user_until_logout() {
        set_up();
        let who = "SELECT concat_ws(' ', auth.user_id(), auth.role(), auth.claim('sub'), auth.jwt()->>'sub', auth.uid())";
        expect(who, "");
        let token = "auth.issue_jwt('alice', claims => '{\"role\": \"editor\"}')";
        expect(
            &format!("SELECT auth.authenticate({token})->>'sub'"),
            "alice",
        );
        expect(who, "alice editor alice alice");
        expect("SELECT auth.require_user()", "alice");
        run("SELECT auth.logout()");
        expect(who, "");
    }

    #[pg_extern]
    fn an_event_is_in_the_log_when_its_transaction_has_ended() {
        set_up();
        let cursor = ask("SELECT auth.invalidation_cursor()").unwrap_or_default();
        run("SELECT auth.bump_session_version('alice')");
        let since = format!("SELECT count(*) FROM auth.invalidations_since('{cursor}')");
        expect(&since, "0");
        expect("SELECT notify FROM auth.health()", "inline");
    }

    #[pg_extern]
    fn a_rotated_key_verifies_until_it_is_retired() {
        set_up();
        let token = ask("SELECT auth.issue_jwt('alice')").unwrap_or_default();
        let valid = format!("SELECT valid FROM auth.check_jwt('{token}')");
        expect("SELECT auth.create_signing_key(kid => 'ec')", "ec");
        expect("SELECT auth.jwks()#>>'{keys,0,kid}'", "ec");
        run("SELECT auth.activate_signing_key('ec')");
        expect(
            "SELECT auth.decode_jwt(auth.issue_jwt('alice'))->'header'->>'alg'",
            "ES256",
        );
        expect("SELECT auth.rotate_signing_key() <> 'ec'", "true");
        expect(&valid, "true");
        expect("SELECT auth.retire_signing_key('hmac')", "true");
        expect(&valid, "false");
    }

    #[pg_extern]
    fn a_jwks_replaces_the_one_before() {
        set_up();
        let jwk = r#"{"kty":"OKP","crv":"Ed25519","kid":"ed","x":"UT1Rj99cNRWyFriOuyUpSuuuvqsk-dDB4MjGkBisbNo"}"#;
        expect(
            &format!("SELECT auth.import_jwks('{{\"keys\":[{jwk}]}}')"),
            "ed",
        );
        expect("SELECT auth.jwks()#>>'{keys,0,kid}'", "ed");
        expect(
            "SELECT count(*) FROM auth.import_jwks('{\"keys\":[]}')",
            "0",
        );
        expect("SELECT auth.jwks()", r#"{"keys": []}"#);
    }

    #[pg_extern]
    fn tables_are_attached_and_detached() {
        set_up();
        run("CREATE TABLE keys (id text PRIMARY KEY, user_id text)");
        run("SELECT auth.attach_api_keys('keys')");
        expect("SELECT count(*) FROM auth.attached_tables", "2");
        run("SELECT auth.detach_api_keys(), auth.detach_users()");
        expect("SELECT count(*) FROM auth.attached_tables", "0");
    }

    #[pg_extern]
    fn a_fingerprint_is_the_sha256_of_the_key() {
        expect(
            "SELECT auth.api_key_fingerprint('rfs' || repeat('a', 64))",
            "b97e9d3ee11b67f92db68feb32601dc605acaac0b35c5de04469d0edcd0da445",
        );
    }

    // ---- What a backend keeps -------------------------------------------------------------------------

    #[pg_extern]
    fn keys_are_read_anew_only_when_they_changed() {
        set_up();
        let now = trust::current;
        let first = now();
        run("SELECT auth.verify_jwt(auth.issue_jwt('alice')), auth.bump_session_version('alice')");
        run("CREATE TABLE something_else ()");
        assert!(Rc::ptr_eq(&first, &now()), "read again without a change");
        run("UPDATE auth.issuers SET leeway = '1 s'");
        let second = now();
        assert!(
            !Rc::ptr_eq(&first, &second),
            "a changed issuer was not seen"
        );
        run("SELECT auth.create_signing_key(kid => 'ec')");
        assert!(!Rc::ptr_eq(&second, &now()), "a new key was not seen");
    }

    #[pg_extern]
    fn a_payload_is_the_jsonb_that_its_text_is() {
        for payload in [
            r#"{}"#,
            r#"{"a":null,"b":true,"c":false,"d":"","e":[],"f":{}}"#,
            r#"{"n":0,"m":-0,"i":9223372036854775807,"j":-9223372036854775808,"k":9223372036854775808}"#,
            r#"{"x":1.50,"y":-0.0,"z":1e3,"big":1E+400,"small":1e-300,"digits":0.12345678901234567890123}"#,
            r#"{"é":"ß\u00e9\n\"\\","\u006eame":"\ud83d\ude00","plain":"日本","slash":"a\/b"}"#,
            r#"{"longer":1,"b":2,"a":3,"aa":4,"B":5,"":6}"#,
            r#"{"aud":["x","y",1,null,{"z":[]}],"o":{"a":{"b":[1,{"c":2}]},"a2":1,"a2":2}}"#,
            r#" { "spaces" : [ 1 , 2 ] , "s" : " x " } "#,
        ] {
            let object: std::collections::BTreeMap<String, &serde_json::value::RawValue> =
                serde_json::from_str(payload).unwrap_or_else(|e| error!("{e}: {payload}"));
            let members = object
                .iter()
                .map(|(name, value)| (name.as_str(), value.get()));
            let [made, read] = [Jsonb::of_members(members), Jsonb::parse(payload)];
            assert!(made.is_some() && made == read, "{payload}");
        }
    }

    #[pg_extern]
    fn keys_of_a_subtransaction_that_was_rolled_back_are_forgotten() {
        set_up();
        let is_live = |kid: &str| {
            let trust = trust::current();
            let issuer = trust.issuer("https://issuer.test");
            issuer
                .zip(Kid::new(kid.to_owned()))
                .is_some_and(|(issuer, kid)| issuer.keys.is_live(&kid, clock::now()))
        };
        run("SELECT auth.create_signing_key(kid => 'kept')");
        assert!(is_live("kept") && !is_live("ec"));
        run("DO $$ BEGIN
                PERFORM auth.create_signing_key(kid => 'ec');
                PERFORM auth.activate_signing_key('ec');
                PERFORM auth.verify_jwt(auth.issue_jwt('alice'));
                RAISE division_by_zero;
            EXCEPTION WHEN division_by_zero THEN NULL; END $$");
        assert!(is_live("kept") && !is_live("ec"));
    }

    #[pg_extern]
    fn the_binding_is_read_anew_only_when_it_changed() {
        set_up();
        let now = || accounts::current();
        let first = now();
        run("UPDATE users SET is_active = false; CREATE TABLE something_else ()");
        assert!(Rc::ptr_eq(&first, &now()), "read again without a change");
        run("ALTER TABLE users ADD COLUMN more text");
        assert!(!Rc::ptr_eq(&first, &now()), "a changed table was not seen");
    }

    // ---- Ids ------------------------------------------------------------------------------------------

    /// As the id column prints the user that `id` names.
    fn found(id: &str) -> Option<String> {
        let attached = accounts::current();
        attached
            .users()
            .unwrap_or_else(|failure| error!("{failure:?}"))
            .find(&UserId::new(id))
            .map(|account| account.id.into_string())
    }

    #[pg_extern]
    fn an_integer_id_is_found_by_its_number() {
        attached_ids("integer", "42");
        assert_eq!(found("42").as_deref(), Some("42"));
        for other in [
            "",
            " 42",
            "42 ",
            "42.0",
            "4_2",
            "0x2a",
            "4294967338",
            "x",
            "\u{664}\u{662}",
        ] {
            assert_eq!(found(other), None, "{other}");
        }
    }

    #[pg_extern]
    fn a_bigint_id_is_found_to_the_ends_of_its_range() {
        attached_ids("bigint", "-9223372036854775808");
        assert_eq!(
            found("-9223372036854775808").as_deref(),
            Some("-9223372036854775808")
        );
        for other in ["-9223372036854775809", "9223372036854775808", "-0", "1e3"] {
            assert_eq!(found(other), None, "{other}");
        }
    }

    #[pg_extern]
    fn a_uuid_is_found_in_any_spelling_and_printed_in_one() {
        let id = "6ba7b810-9dad-11d1-80b4-00c04fd430c8";
        attached_ids("uuid", id);
        for spelling in [id.to_owned(), id.to_uppercase(), id.replace('-', "")] {
            assert_eq!(found(&spelling).as_deref(), Some(id), "{spelling}");
        }
        for other in [
            "",
            "-",
            &id[1..],
            &id.replace('-', "_"),
            &id.replace("6b", "\u{e9}"),
            &id.replace("6b", "+b"),
        ] {
            assert_eq!(found(other), None, "{other}");
        }
    }

    // ---- Events ---------------------------------------------------------------------------------------

    fn reason(text: &str) -> String {
        serde_json::to_value(Reason::new(text))
            .ok()
            .and_then(|value| value.as_str().map(str::to_owned))
            .unwrap_or_default()
    }

    #[pg_extern]
    fn a_reason_is_cut_to_200_bytes_at_a_character() {
        assert_eq!(reason("logout"), "logout");
        assert_eq!(reason(&"x".repeat(200)).len(), 200);
        assert_eq!(reason(&"x".repeat(201)).len(), 200);
        // 199 bytes and an é: half of it would be no text.
        let odd = format!("{}{}", "x".repeat(199), "é".repeat(9));
        assert_eq!(reason(&odd), "x".repeat(199));
        assert_eq!(reason(&"\u{1f600}".repeat(51)).chars().count(), 50);
    }

    #[pg_extern]
    fn a_payload_that_would_not_fit_is_a_flush() {
        let user = |length: usize| Event::User {
            id: UserId::new("i".repeat(length)),
            session_version: jose::SessionVersion::new(7),
            reason: Reason::new("updated"),
        };
        let overhead = user(0).payload().len();
        assert_eq!(
            user(2).payload(),
            r#"{"v":1,"kind":"user","id":"ii","session_version":7,"reason":"updated"}"#
        );
        assert_eq!(user(7999 - overhead).payload().len(), 7999);
        assert_eq!(user(8000 - overhead).payload(), r#"{"v":1,"kind":"flush"}"#);
        assert_eq!(Event::Flush.payload(), r#"{"v":1,"kind":"flush"}"#);
        assert_eq!(
            Event::Issuer {
                issuer: "a\"b".to_owned()
            }
            .payload(),
            r#"{"v":1,"kind":"issuer","issuer":"a\"b"}"#
        );
        let key = Event::ApiKey {
            fingerprint: "f".to_owned(),
            user_id: Some(UserId::new("u")),
            reason: Reason::new("deleted"),
        };
        assert_eq!(
            key.payload(),
            r#"{"v":1,"kind":"api_key","fingerprint":"f","user_id":"u","reason":"deleted"}"#
        );
    }

    // ---- The clock ------------------------------------------------------------------------------------

    fn moment(text: &str) -> UnixMicros {
        let time = Spi::get_one::<TimestampWithTimeZone>(&format!("SELECT timestamptz '{text}'"));
        match time {
            Ok(Some(time)) => clock::from_pg(time.into_inner()),
            other => error!("{text}: {other:?}"),
        }
    }

    #[pg_extern]
    fn times_are_the_same_in_both_reckonings() {
        assert_eq!(moment("1970-01-01 00:00:00+00"), UnixMicros(0));
        assert_eq!(
            moment("2000-01-01 00:00:00.000001+00"),
            UnixMicros(946_684_800_000_001)
        );
        assert_eq!(
            clock::to_timestamptz(UnixMicros(0)).map(|time| time.into_inner()),
            Some(-946_684_800_000_000)
        );
        let now = clock::now();
        assert!(
            moment("now") <= now && now <= clock::now(),
            "the clock goes backwards"
        );
    }

    #[pg_extern]
    fn infinity_stays_beyond_every_date() {
        assert!(
            moment("infinity") > moment("290000-01-01 00:00:00+00"),
            "infinity is a date"
        );
        assert!(
            moment("-infinity") < moment("4713-01-01 00:00:00+00 BC"),
            "-infinity is a date"
        );
        for beyond in [i64::MIN, i64::MIN + 1] {
            assert!(
                clock::to_timestamptz(UnixMicros(beyond)).is_none(),
                "{beyond} is a timestamptz"
            );
        }
    }

    #[pg_extern]
    fn an_interval_out_of_range_is_refused() {
        let micros =
            |text: &str| match Spi::get_one::<Interval>(&format!("SELECT interval '{text}'")) {
                Ok(Some(interval)) => clock::micros(&interval).ok(),
                other => error!("{text}: {other:?}"),
            };
        assert_eq!(micros("1.5 s"), Some(1_500_000));
        assert_eq!(micros("1 month -30 days"), Some(0));
        assert_eq!(micros("-1 us"), Some(-1));
        assert_eq!(micros("178000000 years"), None);
        assert_eq!(micros("-178000000 years"), None);
    }
}
