//! The bcrypt hash by which keys are known that are older than the fingerprint column.

use crate::error::{Error, Result};

/// As the services that made such rows use it.
const COST: u32 = 12;
/// A stored hash of a higher cost is not tried: each step doubles the time.
const MAX_COST: u32 = 16;

/// The hash of a new key.
pub fn hash(key: &str) -> Result<String> {
    bcrypt::hash(key, COST).map_err(|_| Error::Argument("the key cannot be hashed".to_owned()))
}

/// Is it the key's hash? A malformed one is nobody's.
pub fn matches(key: &str, hash: &str) -> bool {
    let cost = hash
        .split('$')
        .nth(2)
        .and_then(|cost| cost.parse::<u32>().ok());
    cost.is_some_and(|cost| cost <= MAX_COST) && bcrypt::verify(key, hash).unwrap_or(false)
}
