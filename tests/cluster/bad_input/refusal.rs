//! What a refusal looks like, and a log in which nothing went wrong.

use auth_ext_tests::DbError;
use auth_ext_tests::postgres::Error;

use super::generate::SECRET;
use super::server;

/// The error is one that the contract has, and tells nothing of the input.
pub fn assert_a_refusal(error: &Error, call: &str, inputs: &[(&str, &str)]) {
    let error = error
        .as_db_error()
        .unwrap_or_else(|| panic!("the connection was lost: {error:?}\n{call} {inputs:?}"));
    let explained = || format!("{error:?}\n{call} {inputs:?}");
    match error.code().code() {
        "28000" => assert!(
            error.detail().is_some_and(is_a_reason) && error.hint().is_none(),
            "{}",
            explained()
        ),
        "55000" => assert!(
            error.detail().is_none() && error.hint().is_some(),
            "{}",
            explained()
        ),
        "22023" | "42501" => assert!(error.detail().is_none(), "{}", explained()),
        _ => panic!("{}", explained()),
    }
    // What is written in PL/pgSQL names itself, and no statement.
    let names_itself = |context: &str| {
        context.starts_with("PL/pgSQL function auth.grant_access(regrole,text) line ")
            && context.lines().count() == 1
    };
    assert!(error.where_().is_none_or(names_itself), "{}", explained());
    let told = told(error);
    assert!(
        told.len() < 4096,
        "{} bytes of complaint: {}…",
        told.len(),
        told.chars().take(200).collect::<String>()
    );
    for (name, value) in inputs {
        let confidential = ["token", "key", "claims", "device", "jwks", "handoff"].contains(name);
        // It may be, or be part of, what another argument names.
        let told_by_another = inputs
            .iter()
            .any(|(other, text)| other != name && text.contains(value));
        assert!(
            !confidential || told_by_another || value.len() < 24 || !told.contains(value),
            "{}",
            explained()
        );
    }
}

fn told(error: &DbError) -> String {
    [Some(error.message()), error.detail(), error.hint()]
        .into_iter()
        .flatten()
        .collect::<Vec<_>>()
        .join("\n")
}

/// The reason codes that exist now.
fn is_a_reason(detail: &str) -> bool {
    jose::Refusal::ALL
        .iter()
        .any(|refusal| refusal.code() == detail)
}

/// The server is in good health, has logged no panic, and of one database none of these secrets.
pub fn assert_the_log_is_clean(database: &str, secrets: &[&str]) {
    let log = server().log();
    let assert_absent = |word: &str, database: &str| {
        let line = log
            .lines()
            .find(|line| line.contains(word) && line.contains(database));
        assert!(line.is_none(), "{word:?} in the log: {line:?}");
    };
    for word in [
        "panicked",
        "internal error",
        "backtrace",
        "was terminated",
        "XX000",
        SECRET,
    ] {
        assert_absent(word, "");
    }
    for secret in secrets {
        assert_absent(secret, &format!(" {database}_"));
    }
}
