//! For whom a token is (`aud`, RFC 7519 section 4.1.3).

use crate::json::Value;
use crate::{Refusal, Refused};
use std::borrow::Cow;

/// A string or an array of strings; `None` for anything else.
pub(crate) fn read(value: Value<'_>) -> Option<Vec<Cow<'_, str>>> {
    match value.string() {
        Some(one) => Some(vec![one]),
        None => value.strings(),
    }
}

/// Refuses a token unless one of those for whom it says that it is (in `claim`) is among the `accepted` ones, which are few and the
/// administrator's own.
pub(crate) fn judge(
    claimed: Option<&[Cow<'_, str>]>,
    accepted: &[String],
    claim: &str,
) -> Result<(), Refused> {
    let is_accepted = |claimed: &Cow<'_, str>| accepted.iter().any(|audience| audience == claimed);
    match claimed {
        None => Err(Refusal::MissingClaim.of(claim)),
        Some(claimed) if claimed.iter().any(is_accepted) => Ok(()),
        Some(_) => Err(Refusal::WrongAudience.of(claim)),
    }
}
