//! The bcrypt hash by which keys are known that are older than the fingerprint column.

use crate::error::Result;

/// As the services that made such rows use it.
const COST: u32 = 12;
/// What a stored hash looks like (as PostgreSQL's regular expressions say it). One of a cost over [`jose::BCRYPT_MAX_COST`] is not
/// tried: each step doubles the time.
pub const PATTERN: &str = r"^\$2[aby]\$(0[4-9]|1[0-4])\$[./A-Za-z0-9]{53}$";
/// bcrypt reads no more of a key: a longer one would be known by its beginning.
pub const LONGEST_KEY: usize = jose::BCRYPT_LONGEST;

/// The hash of a new key. Obeys a cancel while it computes.
pub fn hash(key: &str) -> Result<String> {
    Ok(jose::bcrypt_hash(key, COST, obey_cancel)?)
}

/// Is it the key's hash? A malformed one is nobody's. Obeys a cancel while it computes.
pub fn matches(key: &str, hash: &str) -> bool {
    jose::bcrypt_matches(key, hash, obey_cancel)
}

fn obey_cancel() {
    pgrx::check_for_interrupts!();
}
