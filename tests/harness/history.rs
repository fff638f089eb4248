//! The same changes to tables that differ only in how they are read.

use postgres::Client;

use crate::Ask;

/// What is seen after each of `changes`, each with the change itself.
pub fn history(
    client: &mut Client,
    changes: &[&str],
    mut see: impl FnMut(&mut Client) -> String,
) -> Vec<String> {
    let after = |change: &&str| {
        for statement in change.split("; ") {
            client.run(statement);
        }
        format!("{change}: {}", see(client))
    };
    changes.iter().map(after).collect()
}

/// All histories are the same, and `expected` is in them.
#[track_caller]
pub fn assert_alike(tables: &[&str], histories: &[Vec<String>], expected: &[&str]) {
    for (table, history) in tables.iter().zip(histories).skip(1) {
        assert_eq!(history, &histories[0], "{table}");
    }
    let seen = histories[0].join("\n");
    for expected in expected {
        assert!(seen.contains(expected), "{expected} is not in\n{seen}");
    }
}
