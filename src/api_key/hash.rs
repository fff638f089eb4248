//! The bcrypt hash by which keys are known that are older than the fingerprint column.

use crate::error::{Error, Result};

/// As the services that made such rows use it.
const COST: u32 = 12;
/// What a stored hash looks like (as PostgreSQL's regular expressions say it). One of a cost over 16 is not
/// tried: each step doubles the time.
pub const PATTERN: &str = r"^\$2[aby]\$(0[4-9]|1[0-6])\$[./A-Za-z0-9]{53}$";
/// bcrypt reads no more of a key: a longer one would be known by its beginning.
pub const LONGEST_KEY: usize = 72;

/// The hash of a new key.
pub fn hash(key: &str) -> Result<String> {
    bcrypt::hash(key, COST).map_err(|_| Error::Argument("the key cannot be hashed".to_owned()))
}

/// Is it the key's hash? A malformed one is nobody's.
pub fn matches(key: &str, hash: &str) -> bool {
    bcrypt::verify(key, hash).unwrap_or(false)
}
