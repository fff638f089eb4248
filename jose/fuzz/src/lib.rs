//! What the fuzz targets do with their input. Each asserts properties of what `jose` answers, against oracles of its own.
//!
//! Two compile this: the package `jose-fuzz`, for libFuzzer, and `jose` as its test `fuzz_corpus`, which feeds every file of the corpus
//! to its target.

#![forbid(unsafe_code)]

mod bundle;
mod claims;
mod cursor;
mod device;
mod json;
mod jwks;
mod key;
mod names;
mod pg;
mod ring;
mod token;
mod tree;

type Target = fn(&str);

/// Every target, by the name of its corpus.
const TARGETS: [(&str, Target); 10] = [
    ("token", token::raw),
    ("signed", token::signed),
    ("claims", claims::target),
    ("json", json::target),
    ("jwks", jwks::target),
    ("key", key::target),
    ("bundle", bundle::target),
    ("device", device::target),
    ("cursor", cursor::target),
    ("names", names::target),
];

/// Gives `data` to the target of that name. SQL hands over `text` only: what is no UTF-8 never arrives.
pub fn run(name: &str, data: &[u8]) {
    let (_, target) = TARGETS
        .iter()
        .find(|(known, _)| *known == name)
        .unwrap_or_else(|| panic!("no target {name}"));
    if let Ok(text) = str::from_utf8(data) {
        target(text);
    }
}

/// The lines that a structured input begins with, and all that follows them.
fn lines<const N: usize>(text: &str) -> Option<([&str; N], &str)> {
    let mut rest = text;
    let mut lines = [""; N];
    for line in &mut lines {
        (*line, rest) = rest.split_once('\n')?;
    }
    Some((lines, rest))
}

#[cfg(test)]
mod corpus {
    use std::path::Path;

    /// Without a corpus nothing would be tested, and all would be green.
    const LEAST_FILES: usize = 4;

    #[test]
    fn every_target_holds_on_its_corpus() {
        let manifest = Path::new(env!("CARGO_MANIFEST_DIR"));
        let fuzz = if manifest.ends_with("fuzz") {
            manifest.to_owned()
        } else {
            manifest.join("fuzz")
        };
        for (name, _) in super::TARGETS {
            let folder = fuzz.join("corpus").join(name);
            let files =
                std::fs::read_dir(&folder).unwrap_or_else(|e| panic!("{}: {e}", folder.display()));
            let mut count = 0;
            for file in files {
                let path = file.unwrap().path();
                println!("{}", path.display());
                super::run(name, &std::fs::read(&path).unwrap());
                count += 1;
            }
            assert!(
                count >= LEAST_FILES,
                "{} has {count} files",
                folder.display()
            );
        }
    }
}
