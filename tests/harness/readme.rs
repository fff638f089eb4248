//! SQL in documentation, so that tests can run it.

use std::fs;
use std::path::Path;

/// A fenced block of SQL.
#[derive(Debug)]
pub struct Block {
    /// The line of its first statement in the file.
    pub line: usize,
    /// Its text.
    pub sql: String,
    /// The SQLSTATE it must fail with, where its first line says `-- error: 28000`.
    pub error: Option<String>,
}

/// The blocks that a Markdown file marks as `sql`, in order.
#[must_use]
#[track_caller]
pub fn readme_blocks(path: impl AsRef<Path>) -> Vec<Block> {
    let path = path.as_ref();
    let text =
        fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    let mut lines = text.lines().zip(1..);
    let mut blocks = Vec::new();
    while let Some((opening, number)) = lines.next() {
        if !opening.trim_start().starts_with("```") {
            continue;
        }
        let body: Vec<&str> = lines
            .by_ref()
            .map(|(line, _)| line)
            .take_while(|line| line.trim() != "```")
            .collect();
        if opening.trim() == "```sql" {
            let error = body
                .first()
                .and_then(|line| line.trim().strip_prefix("-- error:"));
            blocks.push(Block {
                line: number + 1,
                error: error.map(|code| code.trim().to_owned()),
                sql: body.join("\n"),
            });
        }
    }
    blocks
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_blocks_of_sql_are_taken_and_their_expected_error_is_read() {
        let path = std::env::temp_dir().join(format!("readme-blocks-{}.md", std::process::id()));
        let text = "a\n```sh\n```sql\n```\n```sql\nSELECT 1;\n```\n  ```sql\n  -- error: 28000\n  x\n  ```\n";
        fs::write(&path, text).unwrap();
        let blocks = readme_blocks(&path);
        fs::remove_file(&path).unwrap();
        let seen: Vec<_> = blocks
            .iter()
            .map(|b| (b.line, b.error.as_deref()))
            .collect();
        assert_eq!(seen, [(6, None), (9, Some("28000"))]);
        assert_eq!(blocks[0].sql, "SELECT 1;");
    }
}
