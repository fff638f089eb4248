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

/// What the cases are made of.
struct World {
    provider: Provider,
    /// The set that may be taken: the present key and a new one.
    next: String,
    /// One that has none of the present keys.
    other: String,
}

/// Lets each of the cases happen, to issuers of a database of their own.
#[track_caller]
fn nothing_changes(name: &str, cases: impl FnOnce(&World) -> Vec<Case>) {
    let mut relying = Relying::new(shared(), name);
    let [old, new, other] = ["old", "new", MARK].map(Key::new);
    let world = World {
        provider: Provider::start(),
        next: set(&[&old, &new]),
        other: set(&[&other]),
    };
    let provider = &world.provider;
    provider.answer("/good", ok(&world.next));
    let cases = cases(&world);
    let answer_all = |answer: &dyn Fn(&Case) -> Answer| {
        for case in &cases {
            provider.answer(&format!("/{}", case.name), answer(case));
        }
    };
    for case in &cases {
        relying.trust(
            &issuer(case.name),
            &provider.url(&format!("/{}", case.name)),
        );
    }
    answer_all(&|_| ok(&set(&[&old])));
    relying.program(&["--once"]).run_well();

    answer_all(&|case| case.wrong.clone());
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

    answer_all(&|_| ok(&world.next));
    relying.program(&["--once"]).run_well();
    for case in &cases {
        let issuer = issuer(case.name);
        assert_eq!(relying.verdict(&issuer, &new), "valid", "{issuer}");
    }
}

#[test]
fn a_redirect_to_elsewhere_is_not_followed() {
    nothing_changes("redirects", |world| {
        let good = world.provider.url("/good");
        let elsewhere = "redirects to another host";
        // They would all answer with a set that could be taken.
        let other_port = Provider::start();
        other_port.answer("/good", ok(&world.next));
        let to = |location: &str| redirect(location);
        vec![
            case(
                "host",
                elsewhere,
                to(&good.replace("127.0.0.1", "localhost")),
            ),
            case("port", elsewhere, to(&other_port.url("/good"))),
            case("http", elsewhere, to(&good.replace("https", "http"))),
            case("user", elsewhere, to("https://u:hunter2@idp.example/good")),
            case("loop", "again and again", to("/loop")),
            case("file", "", to("file:///etc/passwd?hunter2")),
            case("nowhere", "answered 302", status(302)),
        ]
    });
}

#[test]
fn only_a_whole_answer_is_taken() {
    nothing_changes("answers", |world| {
        let (next, length) = (&world.next, world.next.len());
        let said = |status: &str, length: usize| {
            raw(format!(
                "HTTP/1.1 {status} X\r\nContent-Length: {length}\r\n\r\n{next}"
            ))
        };
        let two_lengths = format!("200 X\r\nContent-Length: {}", length - 1);
        vec![
            case("server_error", "answered 500", said("500", length)),
            case("not_found", "answered 404", said("404", length)),
            case("partial", "answered 206", said("206", length)),
            case("unavailable", "answered 503", status(503)),
            case("no_content", "answered 204", status(204)),
            case("hanging_up", "", raw("")),
            case("truncated", "", said("200", length + 10)),
            case("cut_short", "no JSON", said("200", length - 10)),
            case("two_lengths", "", said(&two_lengths, length)),
            case("no_http", "", raw("220 hunter2 ESMTP\r\n")),
        ]
    });
}

#[test]
fn an_answer_is_limited_in_time_and_size() {
    nothing_changes("limits", |world| {
        let (megabyte, zeros) = (" ".repeat(1024 * 1024), " ".repeat(0x10000));
        let (large, late) = ("more than a megabyte", "ten seconds");
        let chunk = format!("10000\r\n{zeros}\r\n");
        let slowly = Duration::from_millis(300);
        let head = "HTTP/1.1 200 OK\r\n";
        let gzip = with_headers("Content-Encoding: gzip\r\n", "\u{1f}hunter2");
        vec![
            case("large", large, ok(&format!("{}{megabyte}", world.next))),
            case("endless", large, endless(CHUNKED, &chunk, Duration::ZERO)),
            case("head", "", endless(head, "X: hunter2\r\n", Duration::ZERO)),
            case("dripping", late, endless(CHUNKED, "1\r\n \r\n", slowly)),
            case("silent", late, endless("", "", slowly)),
            case("gzip", "compressed", gzip),
            case("deep", "no JSON", ok(&"[".repeat(100_000))),
        ]
    });
}

#[test]
fn only_a_set_with_a_present_key_is_taken() {
    nothing_changes("sets", |world| {
        let secret = r#"{"keys":[{"kty":"oct","kid":"hunter2","k":"aHVudGVyMiBodW50ZXIyIGh1bnRlcjIgaHVudGVyMg"}]}"#;
        let null = world
            .next
            .replace("\"kid\"", r#""x5t":"hunter2\u0000","kid""#);
        let head = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n";
        vec![
            case("another_key", "none of the present keys", ok(&world.other)),
            case("no_keys", "no key", ok(r#"{"keys":[]}"#)),
            case("no_set", "not a", ok(r#"{"hunter2":[]}"#)),
            case("secrets", "none is usable", ok(secret)),
            case("null_character", "not a", ok(&null)),
            case("html", "no JSON", ok("<html><body>hunter2</body></html>")),
            case("empty", "no JSON", ok("")),
            case(
                "no_text",
                "no text",
                raw([&head[..], &[0xff, 0xfe]].concat()),
            ),
        ]
    });
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
