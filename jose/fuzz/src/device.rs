//! Device fingerprints: one hash for all spellings of one device.

use jose::device_hash;

use crate::tree::Tree;

pub fn target(text: &str) {
    let strict = Tree::strict_object(text).filter(Tree::is_unique_throughout);
    let (Some(tree), hash) = (&strict, device_hash(text)) else {
        assert!(device_hash(text).is_err(), "it is no strict object");
        return;
    };
    let hash = hash.expect("a strict object");
    if tree.members().is_empty() {
        assert_eq!(hash, None);
        return;
    }
    let hash = hash.expect("a hash");
    assert!(hash.len() == 64 && hash.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f')));
    assert_eq!(
        device_hash(&tree.respelled()).as_ref(),
        Ok(&Some(hash.clone())),
        "another spelling"
    );
    let floats = with_other_floats(tree);
    assert_eq!(
        device_hash(&floats.respelled()).as_ref(),
        Ok(&Some(hash.clone())),
        "another spelling of its floats"
    );
    let mut more = tree.members().to_vec();
    more.push((unused_name(tree), Tree::Word("null".to_owned())));
    assert_ne!(
        device_hash(&Tree::Object(more).respelled()),
        Ok(Some(hash)),
        "another device"
    );
}

fn unused_name(tree: &Tree) -> String {
    (0..)
        .map(|n| format!("n{n}"))
        .find(|name| tree.get(name).is_none())
        .expect("a name")
}

/// The same doubles, with all their digits and an exponent; the integer 0 with a sign.
fn with_other_floats(tree: &Tree) -> Tree {
    match tree {
        Tree::Number(text) if text.contains(['.', 'e', 'E']) => {
            let double: f64 = text.parse().expect("a number");
            if double.is_finite() {
                Tree::Number(format!("{double:.25e}"))
            } else {
                tree.clone()
            }
        }
        Tree::List(elements) => Tree::List(elements.iter().map(with_other_floats).collect()),
        Tree::Object(members) => Tree::Object(
            members
                .iter()
                .map(|(name, value)| (name.clone(), with_other_floats(value)))
                .collect(),
        ),
        Tree::Number(text) if text == "0" => Tree::Number("-0".to_owned()),
        other => other.clone(),
    }
}
