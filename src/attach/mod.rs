//! Binding an application's table: its columns, its triggers, its ids. What users and API keys share.

mod binding;
mod columns;
mod deferred;
mod functions;
mod id;
mod partitions;
mod renames;
mod table;
mod triggers;
mod user_id;

pub use binding::{Attached, AttachedTable, Binding, Bindings, bindings, still_holds, successor};
pub use columns::{
    ID_TYPE_NAMES, ID_TYPES, VERSION_DEFINITION, VERSION_TYPES, optional_column, require_column,
    require_distinct,
};
pub use deferred::{can_defer_triggers, with_foreign_keys_at_once};
pub use id::{IdType, bigint, uuid};
pub use table::{Attachment, Claim, Trigger, covers, detach};
pub use triggers::{as_it_is, changes, exhausted, is_bump, raised, refuse_too_high};
pub use user_id::UserId;
