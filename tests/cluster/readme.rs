//! What README.md shows works.

use std::fs;
use std::path::{Path, PathBuf};

use auth_ext_tests::{Cluster, Shown, readme_blocks, readme_code, refused};

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

#[test]
fn every_sql_block_of_the_readme_runs_in_order() {
    let blocks = readme_blocks(root().join("README.md"));
    assert!(!blocks.is_empty(), "README.md has no block of SQL");

    // Of its own, since it makes roles.
    let cluster = Cluster::start("readme");
    let db = cluster.empty_database("readme");
    let mut reader = cluster.connect(&db);
    for block in blocks {
        let result = reader.batch_execute(&block.sql);
        println!("README.md:{}", block.line);
        match &block.error {
            Some(sqlstate) => {
                refused(result, sqlstate, None);
            }
            None => result.unwrap_or_else(|error| {
                panic!("README.md:{} failed: {error:?}\n{}", block.line, block.sql)
            }),
        }
    }
}

#[test]
fn the_code_that_the_readme_shows_is_that_of_the_files() {
    let code = readme_code(root().join("README.md"));
    for listener in ["listener.py", "listener.mjs", "listener.rs"] {
        let is_shown = |shown: &Shown| shown.file == format!("tests/listeners/{listener}");
        assert!(
            code.iter().any(is_shown),
            "README.md shows nothing of {listener}"
        );
    }
    for shown in code {
        let text = fs::read_to_string(root().join(&shown.file)).expect(&shown.file);
        // Whole lines.
        let (text, part) = (format!("\n{text}"), format!("\n{}\n", shown.text));
        assert!(
            text.contains(&part),
            "README.md:{} is not in {}",
            shown.line,
            shown.file
        );
    }
}
