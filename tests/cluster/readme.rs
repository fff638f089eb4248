//! What README.md shows works.

use std::path::Path;

use auth_ext_tests::{readme_blocks, refused, shared};

#[test]
fn every_sql_block_of_the_readme_runs_in_order() {
    let blocks = readme_blocks(Path::new(env!("CARGO_MANIFEST_DIR")).join("../README.md"));
    assert!(!blocks.is_empty(), "README.md has no block of SQL");

    let db = shared().empty_database("readme");
    let mut reader = shared().connect(&db);
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
