//! A provider that misbehaves, in every way that we could think of, changes no keys; and once it behaves again, it does.

use std::time::Duration;

use auth_ext_tests::{Ask, shared};

use crate::certificates::Certificate;
use crate::provider::{Answer, Provider, endless, ok, raw, redirect, status, with_headers};
use crate::relying::{Key, Relying, set};

/// In every wrong answer, and nowhere in what the program says.
const MARK: &str = "hunter2";
const CHUNKED: &str = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n";

/// An issuer, what its provider does wrong, and a part of what is said of it.
struct Case {
    name: &'static str,
    wrong: Answer,
    said: &'static str,
}

fn case(name: &'static str, said: &'static str, wrong: Answer) -> Case {
    Case { name, wrong, said }
}

fn issuer(name: &str) -> String {
    format!("https://{name}.example")
}

/// `next` is the set of `[old, new]`, which must not be taken; `other` shares no key with what is there.
fn cases(provider: &Provider, next: &str, other: &str) -> Vec<Case> {
    let large = format!("{next}{}", " ".repeat(1024 * 1024));
    let secret = r#"{"keys":[{"kty":"oct","kid":"hunter2","k":"aHVudGVyMiBodW50ZXIyIGh1bnRlcjIgaHVudGVyMg"}]}"#;
    let length = next.len();
    vec![
        case(
            "redirect_to_another_host",
            "redirects to another host",
            redirect(&provider.url("/good").replace("127.0.0.1", "localhost")),
        ),
        case(
            "redirect_to_another_port",
            "redirects to another host",
            redirect(&Provider::start().url("/good")),
        ),
        case(
            "redirect_to_http",
            "redirects to another host",
            redirect(&provider.url("/good").replace("https", "http")),
        ),
        case(
            "redirect_to_a_user",
            "redirects to another host",
            redirect("https://hunter2:hunter2@idp.example/good"),
        ),
        case(
            "redirect_loop",
            "again and again",
            redirect("/redirect_loop"),
        ),
        case("redirect_to_nowhere", "answered 302", status(302)),
        case(
            "moved_to_a_file",
            "",
            redirect("file:///etc/passwd?hunter2"),
        ),
        case(
            "server_error",
            "answered 500",
            raw(format!(
                "HTTP/1.1 500 X\r\nContent-Length: {length}\r\n\r\n{next}"
            )),
        ),
        case(
            "not_found",
            "answered 404",
            raw(format!(
                "HTTP/1.1 404 X\r\nContent-Length: {length}\r\n\r\n{next}"
            )),
        ),
        case(
            "unavailable",
            "answered 503",
            raw("HTTP/1.1 503 X\r\nRetry-After: 0\r\nContent-Length: 0\r\n\r\n"),
        ),
        case(
            "partial",
            "answered 206",
            raw(format!(
                "HTTP/1.1 206 X\r\nContent-Length: {length}\r\n\r\n{next}"
            )),
        ),
        case("no_content", "answered 204", status(204)),
        case("html", "no JSON", ok("<html><body>hunter2</body></html>")),
        case("empty", "no JSON", ok("")),
        case(
            "no_text",
            "no text",
            raw([
                &b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n"[..],
                &[0xff, 0xfe],
            ]
            .concat()),
        ),
        case("deep", "no JSON", ok(&"[".repeat(100_000))),
        case(
            "null_character",
            "22P05",
            ok(&next.replace("\"kid\"", "\"x\":\"hunter2\\u0000\",\"kid\"")),
        ),
        case("large", "more than a megabyte", ok(&large)),
        case(
            "endless",
            "more than a megabyte",
            endless(
                CHUNKED,
                &format!("1000\r\n{}\r\n", " ".repeat(0x1000)),
                Duration::ZERO,
            ),
        ),
        case(
            "endless_head",
            "",
            endless("HTTP/1.1 200 OK\r\n", "X: hunter2\r\n", Duration::ZERO),
        ),
        case(
            "dripping",
            "ten seconds",
            endless(CHUNKED, "1\r\n \r\n", Duration::from_millis(300)),
        ),
        case(
            "silent",
            "ten seconds",
            endless("", "", Duration::from_secs(1)),
        ),
        case("hanging_up", "", raw("")),
        case(
            "truncated",
            "",
            raw(format!(
                "HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{next}",
                length + 10
            )),
        ),
        case(
            "cut_short",
            "no JSON",
            raw(format!(
                "HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{next}",
                length - 10
            )),
        ),
        case(
            "two_lengths",
            "",
            raw(format!(
                "HTTP/1.1 200 OK\r\nContent-Length: {length}\r\nContent-Length: 7\r\n\r\n{next}"
            )),
        ),
        case("no_http", "", raw("220 hunter2 ESMTP\r\n")),
        case(
            "gzip_bomb",
            "compressed",
            with_headers("Content-Encoding: gzip\r\n", "\u{1f}hunter2"),
        ),
        case("another_key", "none of the present keys", ok(other)),
        case("no_keys", "no key", ok(r#"{"keys":[]}"#)),
        case("no_key_set", "not a", ok(r#"{"hunter2":[]}"#)),
        case("secret_keys", "none is usable", ok(secret)),
    ]
}

/// What a discovery document says, in the place of the right one.
fn documents(name: &str) -> Vec<(&'static str, &'static str, String)> {
    let document =
        |issuer: &str, uri: &str| format!(r#"{{"issuer":"{issuer}","jwks_uri":"{uri}"}}"#);
    vec![
        (
            "another_issuer",
            "of another issuer",
            document("https://hunter2.example", name),
        ),
        (
            "slash",
            "of another issuer",
            document(&format!("{name}/"), name),
        ),
        (
            "http",
            "not https",
            document(name, "http://127.0.0.1/hunter2"),
        ),
        (
            "user",
            "a user in it",
            document(name, "https://u:hunter2@127.0.0.1/"),
        ),
        ("file", "not https", document(name, "file:///hunter2")),
        (
            "html",
            "the discovery document is none",
            "<html>hunter2</html>".to_owned(),
        ),
    ]
}

#[test]
fn whatever_a_provider_does_wrong_the_keys_stay_as_they_were() {
    let mut relying = Relying::new(shared(), "misbehaviour");
    let provider = Provider::start();
    let (old, new, other) = (Key::new("old"), Key::new("new"), Key::new("hunter2"));
    let (first, next) = (set(&[&old]), set(&[&old, &new]));
    provider.answer("/good", ok(&next));
    let cases = cases(&provider, &next, &set(&[&other]));
    for case in &cases {
        let path = format!("/{}", case.name);
        relying.trust(&issuer(case.name), &provider.url(&path));
        provider.answer(&path, ok(&first));
    }
    relying.program(&["--once"]).run_well();

    for case in &cases {
        provider.answer(&format!("/{}", case.name), case.wrong.clone());
    }
    let outcome = relying.program(&["--once"]).run();
    assert_eq!(outcome.code, Some(1), "{outcome:#?}");
    assert_eq!(
        outcome.said.len(),
        cases.len(),
        "a line for each: {outcome:#?}"
    );
    for case in &cases {
        let issuer = issuer(case.name);
        let said = outcome.of(&issuer);
        let [line] = said[..] else {
            panic!("{issuer}: {outcome:#?}")
        };
        assert!(
            line.starts_with("kept as it was: ") && line.contains(case.said),
            "{issuer}: {line}"
        );
        assert!(!line.contains(MARK), "{line}");
        assert_eq!(relying.verdict(&issuer, &old), "valid", "{issuer}");
        for untaken in [&new, &other] {
            assert_eq!(relying.verdict(&issuer, untaken), "unknown_key", "{issuer}");
        }
    }

    for case in &cases {
        provider.answer(&format!("/{}", case.name), ok(&next));
    }
    relying.program(&["--once"]).run_well();
    for case in &cases {
        assert_eq!(
            relying.verdict(&issuer(case.name), &new),
            "valid",
            "{}",
            case.name
        );
    }
}

#[test]
fn a_server_that_is_not_certified_is_not_believed() {
    let mut relying = Relying::new(shared(), "certificates");
    let (old, new) = (Key::new("old"), Key::new("new"));
    let wrong = [
        (
            "unknown",
            Some(Certificate::of_an_unknown_authority()),
            "UnknownIssuer",
        ),
        ("expired", Some(Certificate::expired()), "expired"),
        (
            "another",
            Some(Certificate::of_another_host()),
            "not valid for name",
        ),
        ("plain", None, ""),
    ];
    let providers: Vec<_> = wrong.iter().map(|_| Provider::start()).collect();
    for ((name, ..), provider) in wrong.iter().zip(&providers) {
        provider.answer("/keys", ok(&set(&[&old])));
        relying.trust(&issuer(name), &provider.url("/keys"));
    }
    relying.program(&["--once"]).run_well();
    for ((_, certificate, _), provider) in wrong.iter().zip(&providers) {
        provider.answer("/keys", ok(&set(&[&old, &new])));
        provider.certify(certificate.as_ref());
    }
    let outcome = relying.program(&["--once"]).run();
    assert_eq!(outcome.code, Some(1));
    for (name, _, part) in &wrong {
        let said = outcome.of(&issuer(name));
        assert!(
            said.len() == 1 && said[0].contains(part),
            "{name}: {outcome:#?}"
        );
        assert_eq!(relying.verdict(&issuer(name), &old), "valid", "{name}");
        assert_eq!(
            relying.verdict(&issuer(name), &new),
            "unknown_key",
            "{name}"
        );
    }
    for provider in &providers {
        assert_eq!(
            provider.asked("/keys"),
            1,
            "it asked whom it does not believe"
        );
        provider.certify(Some(&Certificate::good()));
    }
    relying.program(&["--once"]).run_well();
    for (name, ..) in &wrong {
        assert_eq!(relying.verdict(&issuer(name), &new), "valid", "{name}");
    }
}

#[test]
fn a_discovery_document_that_is_not_the_issuers_leads_nowhere() {
    let mut relying = Relying::new(shared(), "documents");
    let provider = Provider::start();
    let (old, new) = (Key::new("old"), Key::new("new"));
    let page = |name: &str| format!("/{name}/.well-known/openid-configuration");
    let right = |issuer: &str| {
        format!(
            r#"{{"issuer":"{issuer}","jwks_uri":"{}"}}"#,
            provider.url("/keys")
        )
    };
    let names: Vec<_> = documents("").into_iter().map(|(name, ..)| name).collect();
    provider.answer("/keys", ok(&set(&[&old])));
    for name in &names {
        let issuer = provider.url(&format!("/{name}"));
        relying.trust(&issuer, &issuer);
        provider.answer(&page(name), ok(&right(&issuer)));
    }
    relying.program(&["--once"]).run_well();
    provider.answer("/keys", ok(&set(&[&old, &new])));
    for name in &names {
        let issuer = provider.url(&format!("/{name}"));
        let wrong = documents(&issuer)
            .into_iter()
            .find(|(known, ..)| known == name);
        provider.answer(&page(name), ok(&wrong.unwrap().2));
    }
    let outcome = relying.program(&["--once"]).run();
    assert_eq!(outcome.code, Some(1));
    for (name, part, _) in documents("") {
        let issuer = provider.url(&format!("/{name}"));
        let said = outcome.of(&issuer);
        assert!(
            said.len() == 1 && said[0].contains(part),
            "{name}: {outcome:#?}"
        );
        assert!(!said[0].contains(MARK), "{outcome:#?}");
        assert_eq!(relying.verdict(&issuer, &old), "valid", "{name}");
        assert_eq!(relying.verdict(&issuer, &new), "unknown_key", "{name}");
        provider.answer(&page(name), ok(&right(&issuer)));
    }
    relying.program(&["--once"]).run_well();
    for name in &names {
        assert_eq!(
            relying.verdict(&provider.url(&format!("/{name}")), &new),
            "valid",
            "{name}"
        );
    }
}

#[test]
fn what_was_never_fetched_stays_so() {
    let mut relying = Relying::new(shared(), "never");
    let provider = Provider::start();
    provider.answer("/keys", ok(r#"{"keys":[]}"#));
    relying.trust("https://idp.example", &provider.url("/keys"));
    assert_eq!(relying.program(&["--once"]).run().code, Some(1));
    let never: i64 = relying
        .admin
        .one("SELECT jwks_never_fetched FROM auth.health()", &[]);
    assert_eq!(never, 1);
}
