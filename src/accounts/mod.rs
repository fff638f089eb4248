//! The application's users table: where sessions live and end.

mod attach;
mod binding;
mod edge;
mod history;
mod id;
mod triggers;
mod users;

pub use attach::{
    Attachment, Trigger, attach, check_table, detach, optional_column, require_column,
    require_distinct,
};
pub use binding::{Attached, current};
pub use edge::{VERSION_DEFINITION, VERSION_TYPES, changes, name_argument};
pub use history::{bumped_at, settle_bulk};
pub use id::{IdType, uuid};
pub use triggers::{as_it_is, exhausted, is_bump, raised};
pub use users::{Account, Users};
