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

/// Code that a Markdown file shows of another.
#[derive(Debug)]
pub struct Shown {
    /// The line of its first line.
    pub line: usize,
    /// The file, from the root of the repository.
    pub file: String,
    /// The code.
    pub text: String,
}

/// The blocks that a Markdown file marks as `sql`, in order.
#[must_use]
#[track_caller]
pub fn readme_blocks(path: impl AsRef<Path>) -> Vec<Block> {
    let sql = fences(path.as_ref()).into_iter();
    sql.filter(|fence| fence.opening == "```sql")
        .map(|fence| {
            let first = fence.body.first();
            let error = first.and_then(|line| line.trim().strip_prefix("-- error:"));
            Block {
                line: fence.line,
                error: error.map(|code| code.trim().to_owned()),
                sql: fence.body.join("\n"),
            }
        })
        .collect()
}

/// The blocks of a Markdown file that show code of a file, which a comment on the line before names.
#[must_use]
#[track_caller]
pub fn readme_code(path: impl AsRef<Path>) -> Vec<Shown> {
    let shown = |fence: Fence| {
        let named = fence.before.strip_prefix("<!-- ")?;
        Some(Shown {
            line: fence.line,
            file: named.strip_suffix(" -->")?.to_owned(),
            text: fence.body.join("\n"),
        })
    };
    fences(path.as_ref())
        .into_iter()
        .filter_map(shown)
        .collect()
}

struct Fence {
    line: usize,
    before: String,
    opening: String,
    body: Vec<String>,
}

#[track_caller]
fn fences(path: &Path) -> Vec<Fence> {
    let text =
        fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    let mut lines = text.lines().zip(1..);
    let mut before = "";
    let mut fences = Vec::new();
    while let Some((line, number)) = lines.next() {
        if line.trim_start().starts_with("```") {
            let body = lines.by_ref().map(|(line, _)| line);
            fences.push(Fence {
                line: number + 1,
                before: before.to_owned(),
                opening: line.trim().to_owned(),
                body: body
                    .take_while(|line| line.trim() != "```")
                    .map(str::to_owned)
                    .collect(),
            });
        }
        before = line;
    }
    fences
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

    #[test]
    fn code_is_that_of_the_file_named_before_it() {
        let path = std::env::temp_dir().join(format!("readme-code-{}.md", std::process::id()));
        fs::write(
            &path,
            "<!-- a/b.py -->\n```python\n    x\n\n    y\n```\n```sh\nz\n```\n",
        )
        .unwrap();
        let code = readme_code(&path);
        fs::remove_file(&path).unwrap();
        let seen: Vec<_> = code.iter().map(|c| (c.line, &*c.file, &*c.text)).collect();
        assert_eq!(seen, [(3, "a/b.py", "    x\n\n    y")]);
    }
}
