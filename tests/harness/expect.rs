//! What a refusal must look like.

use postgres::types::ToSql;
use postgres::{Client, Error, error::DbError};

/// The statement failed with this SQLSTATE, and with exactly this DETAIL; `None` does not look at it.
/// Returns the error, for its HINT and message.
#[track_caller]
pub fn refused<'a, T>(
    result: Result<T, Error>,
    sqlstate: &str,
    detail: impl Into<Option<&'a str>>,
) -> DbError {
    let Err(error) = result else {
        panic!("accepted, where {sqlstate} was expected")
    };
    let Some(error) = error.as_db_error() else {
        panic!("not an error of the server: {error:?}")
    };
    assert_eq!(error.code().code(), sqlstate, "the SQLSTATE of {error:?}");
    if let Some(detail) = detail.into() {
        assert_eq!(error.detail(), Some(detail), "the DETAIL of {error:?}");
    }
    error.clone()
}

/// The query is refused with a reason code: SQLSTATE 28000, and the code alone as DETAIL.
#[track_caller]
pub fn assert_reason(client: &mut Client, sql: &str, params: &[&(dyn ToSql + Sync)], reason: &str) {
    refused(client.query(sql, params), "28000", reason);
}
