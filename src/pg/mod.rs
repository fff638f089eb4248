//! Small safe wrappers around what PostgreSQL offers in C. Unsafe code stands here and nowhere else,
//! but for the few lines that read a function's raw arguments.

pub mod acting;
pub mod catalog;
pub mod clock;
pub mod json;
pub mod latch;
pub mod mvcc;
pub mod names;
pub mod plan;
pub mod process;
pub mod row;
pub mod transaction;
pub mod wal;
pub mod watch;
