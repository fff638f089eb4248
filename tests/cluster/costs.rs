//! What the documents say that it costs is what the benchmark has written.

use std::collections::BTreeSet;
use std::fs;

use auth_ext_tests::{Ask, shared};

const PARTS: [(&str, &[&str]); 2] = [
    (
        "docs/costs.md",
        &["machine", "costs", "scale", "pruning", "peer"],
    ),
    ("README.md", &["summary"]),
];

fn read(path: &str) -> String {
    let path = format!("{}/../{path}", env!("CARGO_MANIFEST_DIR"));
    fs::read_to_string(&path).unwrap_or_else(|error| panic!("{path}: {error}"))
}

/// What stands between the marks of a part.
fn part(document: &str, name: &str) -> String {
    let (_, rest) = document
        .split_once(&format!("<!-- make bench: {name} -->\n"))
        .unwrap_or_else(|| panic!("no place for {name}"));
    let (text, _) = rest.split_once("<!-- end -->").expect("an end");
    text.to_owned()
}

/// The first cells of a table's rows, without its head.
fn rows(table: &str) -> BTreeSet<String> {
    let cells = table.lines().skip(2).map(|line| line.split('|').nth(1));
    cells
        .flatten()
        .map(|cell| cell.trim().to_owned())
        .filter(|cell| !cell.is_empty())
        .collect()
}

#[test]
fn every_place_for_figures_is_filled() {
    for (path, names) in PARTS {
        let document = read(path);
        for name in names {
            let text = part(&document, name);
            assert!(
                text.chars().any(|c| c.is_ascii_digit()),
                "{path}: {name} is empty"
            );
        }
    }
}

#[test]
fn the_tables_of_costs_have_the_rows_that_the_benchmark_measures() {
    let db = shared().empty_database("costs");
    let mut client = shared().connect(&db);
    client.run(&read("tests/bench/report.sql").replace("\\set QUIET on", ""));
    let document = read("docs/costs.md");
    let measured = |sql: &str, client: &mut postgres::Client| -> BTreeSet<String> {
        client.rows(sql, &[]).iter().map(|row| row.get(0)).collect()
    };
    let lines = measured("SELECT what FROM lines", &mut client);
    assert_eq!(rows(&part(&document, "costs")), lines);
    let calls = measured("SELECT what FROM calls", &mut client);
    assert_eq!(rows(&part(&document, "scale")), calls);
}
