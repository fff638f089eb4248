//! Large input, and much of it.

use std::time::{Duration, Instant};

use super::database;
use super::functions::functions;
use super::generate::{Forger, Random};
use super::refusal::{assert_a_refusal, assert_the_log_is_clean};
use auth_ext_tests::Client;

/// How long one call may take, on a machine that is busy compiling.
const BOUND: Duration = Duration::from_secs(30);

#[test]
fn fifty_megabytes_are_refused_or_taken_in_bounded_time() {
    let mut client = database("large");
    let texts = [
        "repeat('x', 52428800)",
        "repeat('a.', 26214400)",
        "repeat('{\"a\":', 10485760)",
        "repeat(U&'\\00e9', 26214400)",
        "'{\"kty\":\"' || repeat('-----BEGIN ', 4766254) || '\"}'",
    ];
    let documents = [
        "to_jsonb(repeat('x', 52428800))",
        "jsonb_build_object('keys', repeat('x', 52428800), 'a', 1)",
        "jsonb_build_object('keys', to_jsonb(array_fill(1, '{20000}')))",
        "(SELECT jsonb_object_agg(n, n) FROM generate_series(1, 100000) AS n)",
        "(repeat('[', 4000) || repeat(']', 4000))::jsonb",
    ];
    let mut turn = 0;
    let mut slowest = (Duration::ZERO, String::new());
    for function in functions(&mut client) {
        for (at, (name, kind)) in function.arguments.iter().enumerate() {
            // Two texts for each argument, other ones each time.
            turn += 1;
            let literals = match kind.as_str() {
                "text" => vec![texts[turn % 5], texts[(turn + 2) % 5]],
                "jsonb" => documents.to_vec(),
                _ => Vec::new(),
            };
            for literal in literals {
                let call = function.call_with(at, literal);
                let started = Instant::now();
                client.batch_execute("BEGIN").unwrap();
                if let Err(error) = client.batch_execute(&call) {
                    assert_a_refusal(&error, &call, &[(name, literal)]);
                }
                client.batch_execute("ROLLBACK").unwrap();
                slowest = slowest.max((started.elapsed(), call));
                assert!(slowest.0 < BOUND, "{slowest:?}");
            }
        }
    }
    println!("{slowest:?}");
    assert_the_log_is_clean("large", &[]);
}

#[test]
fn twenty_thousand_refused_tokens_leave_no_memory_behind() {
    let mut client = database("memory");
    let (mut random, forger) = (Random::from_environment(), Forger::new());
    let tokens: Vec<_> = (0..100)
        .map(|n| {
            if n % 2 == 0 {
                forger.strange(&mut random)
            } else {
                forger.mutated(&mut random)
            }
        })
        .collect();
    let pid: i32 = client
        .query_one("SELECT pg_backend_pid()", &[])
        .unwrap()
        .get(0);
    let verify = client.prepare("SELECT auth.verify_jwt($1)::text").unwrap();
    let refuse = |client: &mut Client, count: usize| {
        for token in tokens.iter().cycle().take(count) {
            // Some are right in spite of all.
            let _ = client.query(&verify, &[token]);
        }
    };
    // In one statement: what a call leaves must not wait for the end of the query either.
    let in_one_statement = "SELECT count(*) FILTER (WHERE NOT valid) FROM generate_series(1, 20000) AS n, auth.check_jwt($1 || n % 7)";
    let in_one_block = "DO $$ BEGIN FOR n IN 1..5000 LOOP
            BEGIN PERFORM auth.verify_jwt('a.b.c'); EXCEPTION WHEN invalid_authorization_specification THEN NULL; END;
        END LOOP; END $$";
    refuse(&mut client, 1000);
    client.batch_execute(in_one_block).unwrap();
    let before = memory(pid);
    refuse(&mut client, 20_000);
    let after = memory(pid);
    assert!(
        after < before + 4096,
        "{before} kB before, {after} kB after 20,000 statements"
    );
    let refused: i64 = client
        .query_one(in_one_statement, &[&forger.good])
        .unwrap()
        .get(0);
    assert_eq!(refused, 20_000);
    for _ in 0..4 {
        client.batch_execute(in_one_block).unwrap();
    }
    let after = memory(pid);
    assert!(
        after < before + 8192,
        "{before} kB before, {after} kB after 20,000 calls in a statement and in subtransactions"
    );
}

/// The most that a process has had in memory, in kB.
fn memory(pid: i32) -> u64 {
    let status =
        std::fs::read_to_string(format!("/proc/{pid}/status")).expect("the backend's status");
    let line = status
        .lines()
        .find(|line| line.starts_with("VmHWM:"))
        .expect("VmHWM");
    line.split_whitespace()
        .nth(1)
        .and_then(|kb| kb.parse().ok())
        .expect("a number of kB")
}
