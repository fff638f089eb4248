//! What README.md and the pages of docs/ show works.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use auth_ext_tests::{App, Ask, Client, Cluster, Shown, readme_blocks, readme_code, refused};
use jose::Refusal;

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

/// The pages of docs/, from the root, in the order of their names.
fn pages() -> Vec<String> {
    let folder = fs::read_dir(root().join("docs")).expect("docs");
    let mut pages: Vec<_> = folder
        .map(|entry| {
            entry
                .expect("an entry")
                .file_name()
                .into_string()
                .expect("a name")
        })
        .filter(|name| name.ends_with(".md"))
        .map(|name| format!("docs/{name}"))
        .collect();
    pages.sort();
    assert!(!pages.is_empty(), "docs/ has no page");
    pages
}

/// Runs the blocks of SQL of a page in order; how many there are.
fn run_blocks(reader: &mut Client, page: &str) -> usize {
    let blocks = readme_blocks(root().join(page));
    for block in &blocks {
        let result = reader.batch_execute(&block.sql);
        println!("{page}:{}", block.line);
        match &block.error {
            Some(sqlstate) => {
                refused(result, sqlstate, None);
            }
            None => result.unwrap_or_else(|error| {
                panic!("{page}:{} failed: {error:?}\n{}", block.line, block.sql)
            }),
        }
    }
    blocks.len()
}

#[test]
fn every_sql_block_of_the_readme_runs_in_order() {
    let cluster = Cluster::start("readme");
    let db = cluster.empty_database("readme");
    let ran = run_blocks(&mut cluster.connect(&db), "README.md");
    assert!(ran > 5, "README.md has no tour");
}

/// Each page goes on from the README's tour, in a server of its own, since roles belong to all databases.
#[test]
fn every_sql_block_of_the_docs_runs_after_those_of_the_readme() {
    let cluster = Cluster::start("docs");
    let mut admin = cluster.connect("postgres");
    let mut ran = 0;
    for page in pages() {
        let db = cluster.empty_database("docs");
        let mut reader = cluster.connect(&db);
        run_blocks(&mut reader, "README.md");
        ran += run_blocks(&mut reader, &page);
        drop(reader);
        admin.run(&format!("DROP DATABASE \"{db}\" WITH (FORCE)"));
        for role in admin.rows(
            "SELECT quote_ident(rolname) FROM pg_roles WHERE oid >= 16384",
            &[],
        ) {
            admin.run(&format!("DROP ROLE {}", role.get::<_, String>(0)));
        }
    }
    assert!(ran > 10, "the pages have no examples");
}

#[test]
fn every_link_of_the_docs_leads_somewhere() {
    let mut pages = pages();
    pages.push("README.md".to_owned());
    for page in pages {
        let path = root().join(&page);
        let text = fs::read_to_string(&path).expect("a page");
        for link in text
            .split("](")
            .skip(1)
            .filter_map(|rest| rest.split(')').next())
        {
            if link.starts_with("http") {
                continue;
            }
            let (file, heading) = link.split_once('#').unwrap_or((link, ""));
            let target = if file.is_empty() {
                path.clone()
            } else {
                path.parent().expect("a folder").join(file)
            };
            let Ok(target) = fs::read_to_string(&target) else {
                panic!("{page} links to {link}, which is not there");
            };
            let found = heading.is_empty()
                || target
                    .lines()
                    .filter(|line| line.starts_with('#'))
                    .any(|line| anchor(line) == heading);
            assert!(found, "{page} links to {link}, which has no such heading");
        }
    }
}

/// What GitHub makes of a heading.
fn anchor(heading: &str) -> String {
    heading
        .trim_start_matches('#')
        .trim()
        .to_lowercase()
        .chars()
        .filter(|c| c.is_alphanumeric() || matches!(c, ' ' | '-' | '_'))
        .map(|c| if c == ' ' { '-' } else { c })
        .collect()
}

#[test]
fn the_code_that_the_docs_show_is_that_of_the_files() {
    let mut pages = pages();
    pages.push("clients/python/README.md".to_owned());
    let shown: Vec<(String, Shown)> = pages
        .into_iter()
        .flat_map(|page| {
            let code = readme_code(root().join(&page));
            code.into_iter().map(move |shown| (page.clone(), shown))
        })
        .collect();
    for package in ["python", "node", "rust"] {
        // Where it runs as printed, by the test of the package.
        let file = format!("clients/{package}/README.md");
        assert!(
            shown.iter().any(|(_, shown)| shown.file == file),
            "the docs show nothing of {file}"
        );
    }
    for (page, shown) in shown {
        let text = fs::read_to_string(root().join(&shown.file)).expect(&shown.file);
        // Whole lines.
        let (text, part) = (format!("\n{text}"), format!("\n{}\n", shown.text));
        assert!(
            text.contains(&part),
            "{page}:{} is not in {}",
            shown.line,
            shown.file
        );
    }
}

#[test]
fn all_code_of_the_docs_is_that_of_a_file() {
    for page in pages() {
        let text = fs::read_to_string(root().join(&page)).expect("a page");
        let mut before = "";
        for line in text.lines() {
            let is_code = matches!(line, "```python" | "```js" | "```rust");
            assert!(
                !is_code || before.starts_with("<!-- "),
                "{page}: whose code is this, after \"{before}\"?"
            );
            before = line;
        }
    }
}

/// `key: value` of the lines of a block, and of what is indented below `key: |`.
fn yaml(block: &str) -> BTreeMap<String, String> {
    let mut values: BTreeMap<String, String> = BTreeMap::new();
    let mut last = String::new();
    for line in block.lines() {
        match line.split_once(": ") {
            Some((key, value)) if !line.starts_with(' ') => {
                key.clone_into(&mut last);
                values.insert(last.clone(), value.trim_start_matches('|').to_owned());
            }
            _ => {
                let value = values.get_mut(&last).expect("a key above");
                value.push('\n');
                value.push_str(line);
            }
        }
    }
    values
}

#[test]
fn the_queries_for_prometheus_give_the_columns_that_they_name() {
    let cluster = Cluster::with_config("prometheus", &[("shared_preload_libraries", "auth_ext")]);
    let app = App::new(&cluster, "prometheus");
    let mut client = app.connect();
    let token = client.issue("41");
    assert_eq!(client.verdict(&token), "valid");
    client.run("CREATE ROLE prometheus IN ROLE pg_monitor; SET ROLE prometheus");
    let page = fs::read_to_string(root().join("docs/operating.md")).expect("the page");
    let mut metrics = Vec::new();
    for block in page.split("```yaml\n").skip(1) {
        let block = yaml(block.split("\n```").next().expect("its end"));
        let rows = client.rows(&block["query"], &[]);
        let columns: Vec<_> = rows[0]
            .columns()
            .iter()
            .map(|column| column.name())
            .collect();
        let named = format!("{}, {}", block["key_labels"], block["values"]).replace(['[', ']'], "");
        assert_eq!(columns.join(", "), named);
        metrics.push(block["metric_name"].clone());
        if block["type"] == "gauge" {
            let intact: f64 = client.one(
                &format!(
                    "SELECT value FROM ({}) AS m WHERE name = 'users_table_intact'",
                    block["query"]
                ),
                &[],
            );
            assert!((intact - 1.0).abs() < f64::EPSILON);
        }
    }
    assert_eq!(metrics, ["auth_ext_total", "auth_ext_health"]);
}

#[test]
fn the_runbook_says_of_every_reason_code_what_to_do() {
    let page = fs::read_to_string(root().join("docs/runbook.md")).expect("the page");
    let (_, table) = page
        .split_once("## Every reason code")
        .expect("the heading");
    let codes: Vec<_> = table
        .lines()
        .filter_map(|line| line.strip_prefix("| `")?.split('`').next())
        .collect();
    let known: Vec<_> = Refusal::ALL.iter().map(|reason| reason.code()).collect();
    assert_eq!(codes, known);
}

/// The text of every Rust file below `folder`.
fn rust_below(folder: &Path, text: &mut String) {
    for entry in fs::read_dir(folder).expect("a folder") {
        let path = entry.expect("an entry").path();
        if path.is_dir() {
            rust_below(&path, text);
        } else if path.extension().is_some_and(|end| end == "rs") {
            text.push_str(&fs::read_to_string(&path).expect("a source file"));
        }
    }
}

#[test]
fn every_test_that_the_checklist_names_exists() {
    let page = fs::read_to_string(root().join("docs/security.md")).expect("the page");
    let (_, checklist) = page.split_once("## Checklist").expect("the checklist");
    let mut tests = String::new();
    for folder in ["jose", "tests/cluster"] {
        rust_below(&root().join(folder), &mut tests);
    }
    let mut rows = 0;
    for row in checklist
        .lines()
        .filter(|line| line.starts_with("| "))
        .skip(1)
    {
        rows += 1;
        let cell = row.rsplit('|').nth(1).expect("a last column");
        let names: Vec<_> = cell.split('`').skip(1).step_by(2).collect();
        assert!(!names.is_empty(), "no test: {row}");
        for name in names {
            assert!(
                tests.contains(&format!("fn {name}(")),
                "there is no test {name}"
            );
        }
    }
    assert!(rows > 12, "{rows} rows");
}
