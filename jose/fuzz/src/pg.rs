//! The extension's file that its `cursor.rs` names as `crate::pg::mvcc`.

#[allow(dead_code, reason = "the target asks for a part of it")]
#[path = "../../../src/pg/mvcc.rs"]
pub mod mvcc;
