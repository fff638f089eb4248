//! Bad input of any size or shape gives one of the contract's refusals, in bounded time and memory: no panic,
//! no internal error, no crash, and nothing of the input in what clients and the log are told.
//!
//! Run again with `AUTH_EXT_SEED` what a failure prints.

mod functions;
mod generate;
mod refusal;
mod size;

use std::collections::BTreeSet;
use std::sync::OnceLock;
use std::time::{Duration, Instant};

use auth_ext_tests::{Client, Cluster, DbError, postgres, refused};
use functions::{argument, functions, is_of_its_type};
use generate::{Forger, Random, SECRET};
use refusal::{assert_a_refusal, assert_the_log_is_clean};

/// A server whose environment asks for backtraces.
fn server() -> &'static Cluster {
    static SERVER: OnceLock<Cluster> = OnceLock::new();
    SERVER.get_or_init(|| {
        Cluster::setup("bad")
            .environment("RUST_BACKTRACE", "1")
            .start_until_exit()
    })
}

/// A database in which everything is set up, so that input is refused for what it is.
fn database(name: &str) -> Client {
    let db = server().database(name);
    let mut client = server().connect(&db);
    client
        .batch_execute(&format!(
            "INSERT INTO auth.issuers (issuer, audience) VALUES ('https://issuer.test', '{{app.test}}');
             SELECT auth.create_signing_key(kid => 'ec');
             SELECT auth.import_signing_key('{SECRET}', 'HS256', kid => 'hmac');
             CREATE TABLE users (id text PRIMARY KEY, is_active boolean, password_hash text);
             INSERT INTO users VALUES ('alice', true);
             CREATE TABLE keys (id text PRIMARY KEY, user_id text, is_active boolean);
             SELECT auth.attach_users('users');
             SET client_min_messages = error"
        ))
        .unwrap();
    client
}

#[test]
fn no_input_makes_a_function_fail_in_another_way_than_the_contract_says() {
    let mut client = database("functions");
    let (mut random, forger) = (Random::from_environment(), Forger::new());
    let functions = functions(&mut client);
    let calls: Vec<_> = functions
        .iter()
        .map(|function| client.prepare(&function.call()).unwrap())
        .collect();
    let started = Instant::now();
    let mut rounds = 0;
    while rounds < 400 && (rounds < 40 || started.elapsed() < Duration::from_secs(15)) {
        rounds += 1;
        for (function, call) in functions.iter().zip(&calls) {
            let mut values = Vec::new();
            for (name, kind) in &function.arguments {
                let value = argument(&mut random, &forger, name, kind);
                values.push(value.filter(|value| is_of_its_type(&mut client, kind, Some(value))));
            }
            let parameters: Vec<_> = values.iter().map(|value| value as _).collect();
            client.batch_execute("BEGIN").unwrap();
            let outcome = client.query(call, &parameters);
            if let Err(error) = &outcome {
                let inputs: Vec<_> = function
                    .arguments
                    .iter()
                    .zip(&values)
                    .filter_map(|((name, _), value)| Some((name.as_str(), value.as_deref()?)))
                    .collect();
                assert_a_refusal(error, &function.name, &inputs);
            }
            client.batch_execute("ROLLBACK").unwrap();
        }
    }
    println!("{} calls", rounds * functions.len());
    assert_the_log_is_clean("functions", &[]);
}

#[test]
fn a_token_that_is_not_quite_right_is_refused_for_the_same_reason_everywhere() {
    let mut client = database("tokens");
    let (mut random, forger) = (Random::from_environment(), Forger::new());
    let check = client
        .prepare("SELECT valid, reason, claims IS NOT NULL FROM auth.check_jwt($1)")
        .unwrap();
    let others = ["verify_jwt", "verify_jwt_claims", "decode_jwt"].map(|name| {
        client
            .prepare(&format!("SELECT auth.{name}($1)::text"))
            .unwrap()
    });
    let good: bool = client.query_one(&check, &[&forger.good]).unwrap().get(0);
    assert!(good, "the token that the others are made of");

    let started = Instant::now();
    let mut seen = BTreeSet::new();
    let has_all = |seen: &BTreeSet<String>| {
        [
            "malformed",
            "bad_signature",
            "invalid_claim",
            "missing_claim",
            "wrong_issuer",
            "wrong_purpose",
            "expired",
            "session_version_mismatch",
        ]
        .iter()
        .all(|reason| seen.contains(*reason))
    };
    for n in 0..6000 {
        if n >= 600 && started.elapsed() > Duration::from_secs(15) && has_all(&seen) {
            break;
        }
        let signed = random.once_in(2);
        let token = if signed {
            forger.strange(&mut random)
        } else {
            forger.mutated(&mut random)
        };
        let row = client.query_one(&check, &[&token]).unwrap();
        let (valid, reason, claims): (bool, Option<String>, bool) =
            (row.get(0), row.get(1), row.get(2));
        assert_eq!(valid, reason.is_none(), "{token}");
        assert!(!valid || claims, "{token}");
        assert!(
            signed || !valid || token == forger.good,
            "forged, and accepted: {token}"
        );
        assert!(
            signed || !claims || token == forger.good,
            "forged, and its claims are told: {token}"
        );

        let [verify, claims, decode] = others
            .each_ref()
            .map(|call| outcome(&mut client, call, &token));
        assert_eq!(verify, reason.clone().map_or(Ok(()), Err), "{token}");
        let ends_with_the_session = matches!(
            reason.as_deref(),
            Some("unknown_user" | "inactive_user" | "session_version_mismatch")
        );
        assert_eq!(
            claims,
            if ends_with_the_session {
                Ok(())
            } else {
                verify
            },
            "{token}"
        );
        let readable = !matches!(reason.as_deref(), Some("malformed" | "too_large"));
        assert_eq!(decode.is_ok(), readable, "{token}");
        seen.extend(reason);
    }
    println!("{seen:?}");
    assert!(
        has_all(&seen),
        "seen only {seen:?}: the generator has become lame"
    );
    assert_the_log_is_clean("tokens", &[&forger.good]);
}

fn outcome(client: &mut Client, call: &postgres::Statement, token: &str) -> Result<(), String> {
    match client.query(call, &[&token]) {
        Ok(_) => Ok(()),
        Err(error) => {
            assert_a_refusal(&error, "a token", &[("token", token)]);
            let detail = error
                .as_db_error()
                .and_then(DbError::detail)
                .map(str::to_owned);
            Err(detail.expect("a reason"))
        }
    }
}

#[test]
fn a_refusal_tells_its_reason_and_nothing_else_though_backtraces_are_asked_for() {
    let mut client = database("told");
    let forger = Forger::new();
    let forged = format!("{}A", &forger.good[..forger.good.len() - 1]);
    let literal = format!("SELECT auth.verify_jwt('{forged}')");
    let inside = format!("DO $$ BEGIN PERFORM auth.verify_jwt('{forged}'); END $$");
    for call in [literal, inside] {
        let error = refused(client.batch_execute(&call), "28000", "bad_signature");
        assert!(!error.message().contains(&forged[..40]), "{error:?}");
    }
    let import = format!("SELECT auth.import_signing_key('{SECRET}', 'ES256')");
    let error = refused(client.batch_execute(&import), "22023", None);
    assert_eq!(error.detail(), None, "{error:?}");
    assert_the_log_is_clean("told", &[&forged, "PERFORM auth.verify_jwt"]);
}
