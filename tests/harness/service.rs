//! The service that adopts the extension: what its own libraries make, by `tests/service.py`.

use std::path::Path;
use std::process::Command;

use serde_json::Value;

use crate::place::run_with_input;

/// Runs a command of `tests/service.py` with JSON to read; its answer.
#[track_caller]
#[must_use]
pub fn service(arguments: &[&str], input: &Value) -> Value {
    let tests = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut python = Command::new(tests.join("python"));
    python.arg(tests.join("service.py")).args(arguments);
    let answer = run_with_input(&mut python, &input.to_string());
    serde_json::from_str(&answer).unwrap_or_else(|error| panic!("{answer}: {error}"))
}
