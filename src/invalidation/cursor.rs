//! A place in the log, as a listener keeps it: which transactions' events it has seen, and of which history.
//! Knows nothing of Postgres, so that the fuzz targets can have it.

use core::fmt;
use std::str::FromStr;

use crate::pg::mvcc::Mvcc;

/// With more transactions in progress the cursor sees less than it could: events may come again, none is lost.
const MAX_IN_PROGRESS: usize = 512;

/// Whose history a cursor belongs to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Origin {
    /// The cluster, since its initdb.
    pub system: u64,
    /// The database's oid.
    pub database: u32,
    /// What a promotion changes.
    pub timeline: u32,
}

/// The last event that is behind a cursor: a storage snapshot that is brought back keeps everything of an origin, but not the
/// events that came later.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Anchor {
    /// Its transaction; that of the log itself where there is no event yet.
    pub xid: u64,
    /// When it was written, in PostgreSQL's microseconds; 0 where its row is not there (any more).
    pub written: i64,
}

/// A place in the log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cursor {
    /// Whose.
    pub origin: Origin,
    /// The transactions whose events are behind it, none of them later than the anchor: a later one had no event yet, and in
    /// another history its id may be another transaction's.
    pub seen: Mvcc,
    /// None in those of version 0.1.
    pub anchor: Option<Anchor>,
}

impl Cursor {
    /// A place in this database's log.
    pub fn new(origin: Origin, seen: Mvcc, anchor: Anchor) -> Self {
        Self {
            origin,
            seen: seen.up_to(anchor.xid).bounded(MAX_IN_PROGRESS),
            anchor: Some(anchor),
        }
    }
}

/// `2.system.database.timeline.xmax.in-progress.anchor.written`, in hexadecimal; those in progress by their distance from xmax,
/// ascending in id. `1.` and without the last two in version 0.1.
impl fmt::Display for Cursor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Origin {
            system,
            database,
            timeline,
        } = &self.origin;
        let version = if self.anchor.is_some() { 2 } else { 1 };
        let xmax = self.seen.xmax();
        write!(
            f,
            "{version}.{system:x}.{database:x}.{timeline:x}.{xmax:x}."
        )?;
        for (n, xid) in self.seen.in_progress().iter().enumerate() {
            write!(f, "{}{:x}", if n == 0 { "" } else { "," }, xmax - xid)?;
        }
        match &self.anchor {
            Some(Anchor { xid, written }) => write!(f, ".{xid:x}.{written:x}"),
            None => Ok(()),
        }
    }
}

/// The text is no cursor.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NotACursor;

impl FromStr for Cursor {
    type Err = NotACursor;

    fn from_str(text: &str) -> Result<Self, NotACursor> {
        // Whatever is not exactly as it was given out is none of ours.
        parse(text)
            .filter(|cursor| cursor.to_string() == text)
            .ok_or(NotACursor)
    }
}

fn parse(text: &str) -> Option<Cursor> {
    let (version, rest) = text.split_once('.')?;
    let mut parts = rest.split('.');
    let mut number = || u64::from_str_radix(parts.next()?, 16).ok();
    let origin = Origin {
        system: number()?,
        database: u32::try_from(number()?).ok()?,
        timeline: u32::try_from(number()?).ok()?,
    };
    let xmax = number().filter(|xmax| *xmax > 0)?;
    let list = parts.next().filter(|list| !list.is_empty());
    let in_progress = list
        .into_iter()
        .flat_map(|list| list.split(','))
        .map(|distance| {
            let distance = u64::from_str_radix(distance, 16).ok()?;
            xmax.checked_sub(distance).filter(|xid| *xid > 0)
        })
        .collect::<Option<Vec<u64>>>()?;
    let anchor = match version {
        "1" => None,
        "2" => Some(Anchor {
            xid: u64::from_str_radix(parts.next()?, 16).ok()?,
            written: i64::from_str_radix(parts.next()?, 16).ok()?,
        }),
        _ => return None,
    };
    (parts.next().is_none() && in_progress.len() <= MAX_IN_PROGRESS).then(|| Cursor {
        origin,
        seen: Mvcc::new(xmax, in_progress),
        anchor,
    })
}
