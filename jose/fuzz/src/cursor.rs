//! Cursors of the invalidation log, whose text the client keeps.

#[path = "../../../src/invalidation/cursor.rs"]
mod text;

use text::Cursor;

use crate::pg::mvcc::Mvcc;

/// One cursor, or two on two lines.
pub fn target(text: &str) {
    let (one, other) = text.split_once('\n').unwrap_or((text, text));
    let Some(one) = read(one) else {
        return;
    };
    if let Some(other) = read(other) {
        sees_what_either_sees(&one.seen, &other.seen);
    }
}

fn read(text: &str) -> Option<Cursor> {
    let cursor: Cursor = text.parse().ok()?;
    assert_eq!(cursor.to_string(), text, "a second spelling");
    let seen = &cursor.seen;
    is_sound(seen);
    assert!(seen.in_progress().len() <= 512);
    let Some(anchor) = cursor.anchor else {
        return Some(cursor);
    };
    // As the next cursor is made of it.
    let next = Cursor::new(cursor.origin.clone(), seen.clone(), anchor);
    is_sound(&next.seen);
    assert!(
        next.seen.in_progress().len() <= 512 && next.seen.xmax() <= anchor.xid.saturating_add(1)
    );
    for xid in around(&next.seen).chain(around(seen)) {
        assert!(
            !next.seen.sees(xid) || seen.sees(xid),
            "an event would be missed"
        );
    }
    if next.seen.xmax() > 0 {
        assert_eq!(next.to_string().parse(), Ok(next));
    }
    Some(cursor)
}

fn is_sound(seen: &Mvcc) {
    let ids = seen.in_progress();
    assert!(
        ids.windows(2).all(|pair| pair[0] < pair[1]),
        "not ascending"
    );
    assert!(ids.iter().all(|xid| *xid < seen.xmax() && !seen.sees(*xid)));
    assert!(!seen.sees(seen.xmax()) && seen.xmin() <= seen.xmax());
    assert!(seen.xmin() == 0 || seen.sees(seen.xmin() - 1));
}

fn sees_what_either_sees(one: &Mvcc, other: &Mvcc) {
    let both = one.union(other);
    is_sound(&both);
    assert_eq!(both, other.union(one));
    for xid in around(one).chain(around(other)) {
        assert_eq!(both.sees(xid), one.sees(xid) || other.sees(xid), "{xid}");
    }
}

/// The ids where what it sees changes, and their neighbours.
fn around(seen: &Mvcc) -> impl Iterator<Item = u64> {
    let edges = [seen.xmax(), seen.xmin()]
        .into_iter()
        .chain(seen.in_progress().iter().copied());
    edges.flat_map(|xid| [xid.saturating_sub(1), xid, xid.saturating_add(1)])
}
