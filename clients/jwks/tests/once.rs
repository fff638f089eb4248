//! One run, `--once`: what is fetched, and how it ends.

use auth_ext_tests::{Ask, shared};

use crate::program::Program;
use crate::provider::{Provider, ok, redirect, status};
use crate::relying::{Key, Relying, set};

const ISSUER: &str = "https://idp.example";

/// A database that trusts a provider which publishes these keys.
fn trusting(name: &str, keys: &[&Key]) -> (Relying<'static>, Provider) {
    let mut relying = Relying::new(shared(), name);
    let provider = Provider::start();
    provider.answer("/keys", ok(&set(keys)));
    relying.trust(ISSUER, &provider.url("/keys"));
    (relying, provider)
}

#[test]
fn a_set_is_taken_and_health_says_how_old_it_is() {
    let one = Key::new("one");
    let (mut relying, _provider) = trusting("taken", &[&one]);
    let outcome = relying.program(&["--once"]).run_well();
    assert_eq!(outcome.of(ISSUER), ["keys: 1 (1 new, 0 gone)"]);
    assert_eq!(relying.verdict(ISSUER, &one), "valid");
    let sql =
        "SELECT concat_ws(' ', jwks_never_fetched, jwks_oldest_age < '1 min') FROM auth.health()";
    let said: String = relying.admin.one(sql, &[]);
    assert_eq!(said, "0 t");
    // Where nothing is new there is nothing to say.
    relying.program(&["--once"]).run_in_silence();
}

#[test]
fn an_issuers_own_url_leads_to_its_keys_by_discovery() {
    let mut relying = Relying::new(shared(), "discovery");
    let (provider, elsewhere) = (Provider::start(), Provider::start());
    let one = Key::new("one");
    for path in ["", "/", "/realms/one"] {
        let issuer = provider.url(path);
        let page = format!(
            "{}/.well-known/openid-configuration",
            path.trim_end_matches('/')
        );
        let document = format!(
            r#"{{"issuer":"{issuer}","jwks_uri":"{}","claims_supported":["sub"]}}"#,
            elsewhere.url("/keys")
        );
        elsewhere.answer("/keys", ok(&set(&[&one])));
        provider.answer(&page, ok(&document));
        relying.trust(&issuer, &issuer);
        relying.program(&["--once"]).run_well();
        assert_eq!(relying.verdict(&issuer, &one), "valid");
        // Here the two differ by the slash alone, and cannot both be discovered.
        relying
            .admin
            .rows("DELETE FROM auth.issuers WHERE issuer = $1", &[&issuer]);
    }
}

#[test]
fn a_redirect_within_the_host_is_followed() {
    let one = Key::new("one");
    let (mut relying, provider) = trusting("redirect", &[]);
    provider.answer("/keys", redirect("/moved?a=b"));
    provider.answer("/moved?a=b", redirect(&provider.url("/there")));
    provider.answer("/there", ok(&set(&[&one])));
    relying.program(&["--once"]).run_well();
    assert_eq!(relying.verdict(ISSUER, &one), "valid");
}

#[test]
fn http_is_fetched_from_this_machine_only_when_told() {
    let mut relying = Relying::new(shared(), "http");
    let provider = Provider::plain();
    let one = Key::new("one");
    provider.answer("/keys", ok(&set(&[&one])));
    relying.trust(ISSUER, &provider.url("/keys"));
    let outcome = relying.program(&["--once"]).run();
    assert_eq!(outcome.code, Some(1));
    assert!(
        outcome.of(ISSUER)[0].contains("--allow-http"),
        "{outcome:?}"
    );
    assert_eq!(provider.asked("/keys"), 0);
    relying.program(&["--once", "--allow-http"]).run_well();
    assert_eq!(relying.verdict(ISSUER, &one), "valid");
}

#[test]
fn keys_rotate_with_an_overlap() {
    let (one, two) = (Key::new("one"), Key::new("two"));
    let (mut relying, provider) = trusting("rotation", &[&one]);
    for (published, said) in [
        (vec![&one], "keys: 1 (1 new, 0 gone)"),
        (vec![&one, &two], "keys: 2 (1 new, 0 gone)"),
        (vec![&two], "keys: 1 (0 new, 1 gone)"),
    ] {
        provider.answer("/keys", ok(&set(&published)));
        let outcome = relying.program(&["--once"]).run();
        assert_eq!(outcome.code, Some(0));
        assert_eq!(outcome.of(ISSUER), [said]);
    }
    assert_eq!(relying.verdict(ISSUER, &one), "unknown_key");
    assert_eq!(relying.verdict(ISSUER, &two), "valid");
}

#[test]
fn a_set_without_a_common_key_is_taken_when_told_so_of_this_issuer() {
    let (one, two) = (Key::new("one"), Key::new("two"));
    let (mut relying, provider) = trusting("replace", &[&one]);
    relying.trust("https://other.example", &provider.url("/other"));
    provider.answer("/other", ok(&set(&[&one])));
    relying.program(&["--once"]).run_well();
    for path in ["/keys", "/other"] {
        provider.answer(path, ok(&set(&[&two])));
    }
    let outcome = relying.program(&["--once"]).run();
    assert_eq!(outcome.code, Some(1));
    assert!(outcome.of(ISSUER)[0].contains("--replace"), "{outcome:?}");
    let outcome = relying.program(&["--once", "--replace", ISSUER]).run();
    assert_eq!(outcome.code, Some(1), "the other issuer's set is kept");
    assert_eq!(outcome.of(ISSUER), ["keys: 1 (1 new, 1 gone)"]);
    assert_eq!(relying.verdict(ISSUER, &one), "unknown_key");
    assert_eq!(relying.verdict(ISSUER, &two), "valid");
    assert_eq!(relying.verdict("https://other.example", &one), "valid");
    let outcome = relying
        .program(&[
            "--once",
            "--replace",
            ISSUER,
            "--replace",
            "https://other.example",
        ])
        .run();
    assert_eq!(outcome.code, Some(0), "{outcome:?}");
    assert_eq!(
        relying.verdict("https://other.example", &one),
        "unknown_key"
    );
    provider.answer("/keys", ok(&set(&[])));
    assert_eq!(relying.program(&["--once"]).run().code, Some(1));
    assert_eq!(relying.verdict(ISSUER, &two), "valid");
    relying.program(&["--once", "--replace", ISSUER]).run_well();
    assert_eq!(relying.verdict(ISSUER, &two), "unknown_key");
    let outcome = relying
        .program(&["--once", "--replace", "https://misspelt.example"])
        .run();
    assert_eq!(outcome.code, Some(1));
    assert!(
        outcome.of("https://misspelt.example")[0].contains("no such issuer"),
        "{outcome:?}"
    );
}

#[test]
fn an_issuer_that_signs_here_keeps_its_keys() {
    let one = Key::new("one");
    let (mut relying, _provider) = trusting("signs", &[&one]);
    relying
        .admin
        .rows("SELECT auth.create_signing_key($1)", &[&ISSUER]);
    let outcome = relying.program(&["--once"]).run();
    assert_eq!(outcome.code, Some(1));
    assert!(
        outcome.of(ISSUER)[0].contains("none of the present keys"),
        "{outcome:?}"
    );
    let outcome = relying.program(&["--once", "--replace", ISSUER]).run();
    assert_eq!(outcome.code, Some(1));
    assert!(outcome.of(ISSUER)[0].contains("22023"), "{outcome:?}");
    assert_eq!(relying.verdict(ISSUER, &one), "unknown_key");
}

#[test]
fn what_the_database_skips_is_told_once() {
    let one = Key::new("one");
    let (relying, provider) = trusting("skipped", &[]);
    let odd = r#"{"kty":"EC","crv":"secp256k1","kid":"odd","x":"AA","y":"AA"}"#;
    provider.answer("/keys", ok(&format!(r#"{{"keys":[{odd},{}]}}"#, one.jwk())));
    let outcome = relying.program(&["--once"]).run();
    assert_eq!(outcome.code, Some(0));
    let said = outcome.of(ISSUER);
    assert!(
        said.len() == 2 && said[0].contains("kid \"odd\""),
        "{outcome:?}"
    );
    assert_eq!(relying.program(&["--once"]).run().said.len(), 0);
}

#[test]
fn one_that_fails_holds_up_no_other() {
    let one = Key::new("one");
    let (mut relying, provider) = trusting("others", &[&one]);
    for n in 0..20 {
        relying.trust(&format!("https://a{n}.example"), &provider.url("/broken"));
    }
    provider.answer("/broken", status(500));
    let outcome = relying.program(&["--once"]).run();
    assert_eq!(
        (outcome.code, outcome.said.len()),
        (Some(1), 21),
        "{outcome:?}"
    );
    assert_eq!(relying.verdict(ISSUER, &one), "valid");
    assert_eq!(provider.asked("/broken"), 20);
}

#[test]
fn without_an_issuer_to_fetch_for_all_is_well() {
    let relying = Relying::new(shared(), "nothing");
    relying.program(&["--once"]).run_in_silence();
}

#[test]
fn a_database_that_cannot_be_asked_is_a_failure() {
    let mut relying = Relying::new(shared(), "unasked");
    let mut nowhere = Program::new(shared(), &["--once"]);
    nowhere.argument("host=/nonexistent dbname=x user=x");
    let outcome = nowhere.run();
    assert_eq!(outcome.code, Some(1));
    assert_eq!(outcome.of("database").len(), 1, "{outcome:?}");
    // A role without the profile.
    relying.admin.run("CREATE ROLE stranger LOGIN");
    let mut stranger = Program::new(shared(), &["--once"]);
    stranger.argument(&shared().conninfo(&relying.db, "stranger"));
    let outcome = stranger.run();
    assert_eq!(outcome.code, Some(1));
    assert!(outcome.of("database")[0].contains("42501"), "{outcome:?}");
}

#[test]
fn it_is_told_where_the_database_is_by_the_environment_too() {
    let one = Key::new("one");
    let (mut relying, _provider) = trusting("environment", &[&one]);
    let mut program = Program::new(shared(), &["--once"]);
    program.variable("PGHOST", shared().host().to_str().unwrap());
    program.variable("PGUSER", &relying.role);
    program.variable("PGDATABASE", &relying.db);
    let outcome = program.run();
    assert_eq!(outcome.code, Some(0), "{outcome:?}");
    assert_eq!(relying.verdict(ISSUER, &one), "valid");
}

#[test]
fn wrong_use_ends_at_once() {
    for arguments in [
        &["--forever"][..],
        &["--replace", ISSUER],
        &["--once", "port=x"],
    ] {
        let outcome = Program::new(shared(), arguments).run();
        assert_eq!(
            (outcome.code, outcome.said.len()),
            (Some(2), 1),
            "{arguments:?}: {outcome:?}"
        );
    }
    assert_eq!(Program::new(shared(), &["--help"]).run().code, Some(0));
    assert_eq!(Program::new(shared(), &["--version"]).run().code, Some(0));
}
