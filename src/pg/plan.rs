//! Kept plans over SPI, with a snapshot that the caller chooses.

use std::cell::{OnceCell, RefCell};
use std::ffi::CString;
use std::rc::Rc;

use pgrx::prelude::*;

use super::catalog::{self, Lock, Relation};
use super::members::{self, Members};
use super::row::Row;
use super::{acting::ActingAs, boundary, snapshot};
use crate::error::Error;

/// What a query sees.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Sees {
    /// What is committed at this moment, and the transaction's own changes, also inside a REPEATABLE
    /// READ transaction that began earlier. Reads only.
    Latest,
    /// The same, of rows that the query locks: PostgreSQL's foreign-key checks see so, too (`ri_PerformCheck`).
    LatestToLock,
    /// What the snapshot shows that the caller has made the active one. Reads only.
    Active,
    /// What any command of this transaction would see. May write.
    Transaction,
}

/// A plan that lives as long as the value, run through `SPI_execute_snapshot` as PostgreSQL's own
/// foreign-key checks are.
pub struct Plan {
    plan: pg_sys::SPIPlanPtr,
    arguments: usize,
}

/// A fixed statement on the extension's own tables, which it calls `auth.…` and finds wherever they are
/// ([`members`]). Its plan is kept while they stay there.
pub struct OurPlan {
    sql: &'static str,
    arguments: &'static [pg_sys::Oid],
    kept: RefCell<Option<(Rc<Members>, Rc<Plan>)>>,
}

/// A statement on a table of the application. Its plan is kept while the table has the name that it was made for.
#[derive(Default)]
pub struct TablePlan(OnceCell<Rc<Plan>>);

impl TablePlan {
    /// The plan of what `sql` says for the table under its present name. The table is locked first, as the statement itself will
    /// lock it: SQL knows the table by its name alone, and from here on nobody renames it.
    pub fn on(
        &self,
        table: &Relation,
        sees: Sees,
        arguments: &[pg_sys::Oid],
        sql: impl FnOnce(&Relation) -> String,
    ) -> Rc<Plan> {
        let lock = match sees {
            Sees::Transaction => Lock::Write,
            Sees::LatestToLock => Lock::Rows,
            Sees::Latest | Sees::Active => Lock::Read,
        };
        catalog::lock(table.oid, lock);
        let renamed =
            catalog::relation(table.oid).filter(|now| now.qualified_name != table.qualified_name);
        match renamed {
            Some(now) => Rc::new(Plan::prepare(&sql(&now), arguments)),
            None => {
                let plan = || Rc::new(Plan::prepare(&sql(table), arguments));
                Rc::clone(self.0.get_or_init(plan))
            }
        }
    }
}

impl Plan {
    /// Prepares `sql`, whose parameters have the types `arguments`. A syntax error is raised.
    pub fn prepare(sql: &str, arguments: &[pg_sys::Oid]) -> Self {
        let sql = CString::new(sql).unwrap_or_default();
        let mut types = arguments.to_vec();
        let count = i32::try_from(types.len()).unwrap_or(0);
        Spi::connect(|_| {
            // SAFETY: inside an SPI connection; the arrays outlive the call; the plan is kept at once,
            // so that it survives SPI_finish.
            let plan = unsafe {
                let plan = pg_sys::SPI_prepare(sql.as_ptr(), count, types.as_mut_ptr());
                if plan.is_null() || pg_sys::SPI_keepplan(plan) != 0 {
                    error!("auth_ext could not prepare an internal query");
                }
                plan
            };
            Self {
                plan,
                arguments: arguments.len(),
            }
        })
    }

    /// Runs the plan for `arguments` (None is NULL), and `read`s each row. At most `limit` rows
    /// (0: all).
    pub fn run<T>(
        &self,
        sees: Sees,
        arguments: &[Option<pg_sys::Datum>],
        limit: i64,
        mut read: impl FnMut(&Row<'_>) -> T,
    ) -> Vec<T> {
        assert_eq!(
            arguments.len(),
            self.arguments,
            "arguments of an internal query"
        );
        let mut values: Vec<pg_sys::Datum> = arguments
            .iter()
            .map(|value| value.unwrap_or(pg_sys::Datum::from(0)))
            .collect();
        let nulls: Vec<core::ffi::c_char> = arguments
            .iter()
            .map(|value| if value.is_some() { b' ' } else { b'n' }.cast_signed())
            .collect();
        Spi::connect(|_| {
            // SAFETY: inside an SPI connection; plan and arrays outlive the call; the snapshot is
            // registered with the executor by SPI, and pushed here only to plan under it.
            let status = unsafe {
                let read_only = matches!(sees, Sees::Latest | Sees::Active);
                let sees_latest = matches!(sees, Sees::Latest | Sees::LatestToLock);
                if sees_latest {
                    snapshot::see_own_changes();
                    pg_sys::PushActiveSnapshot(snapshot::latest());
                }
                let status = pg_sys::SPI_execute_snapshot(
                    self.plan,
                    values.as_mut_ptr(),
                    nulls.as_ptr(),
                    if sees == Sees::Transaction {
                        core::ptr::null_mut()
                    } else {
                        pg_sys::GetActiveSnapshot()
                    },
                    core::ptr::null_mut(),
                    read_only,
                    true,
                    limit,
                );
                if sees_latest {
                    pg_sys::PopActiveSnapshot();
                }
                status
            };
            if status < 0 {
                error!("auth_ext could not run an internal query");
            }
            rows(&mut read)
        })
    }
}

impl OurPlan {
    /// Of `sql`, whose parameters have the types `arguments`. Nothing is prepared yet.
    pub const fn new(sql: &'static str, arguments: &'static [pg_sys::Oid]) -> Self {
        Self {
            sql,
            arguments,
            kept: RefCell::new(None),
        }
    }

    /// As [`Plan::run`].
    pub fn run<T>(
        &self,
        sees: Sees,
        arguments: &[Option<pg_sys::Datum>],
        limit: i64,
        read: impl FnMut(&Row<'_>) -> T,
    ) -> Vec<T> {
        let (members, plan) = self.plan();
        let rows = plan.run(sees, arguments, limit, read);
        check_places(&members);
        rows
    }

    fn plan(&self) -> (Rc<Members>, Rc<Plan>) {
        if let (Some((of, plan)), Some(now)) = (&*self.kept.borrow(), members::current())
            && Rc::ptr_eq(of, &now)
        {
            return (now, Rc::clone(plan));
        }
        let (members, sql) = members::locate(self.sql);
        let plan = Rc::new(Plan::prepare(&sql, self.arguments));
        let kept = (members, plan);
        self.kept
            .replace(Some((Rc::clone(&kept.0), Rc::clone(&kept.1))));
        kept
    }
}

/// Called after a statement that named our tables by their places. If the tables were moved meanwhile, the statement may have met
/// somebody else's table of that name: it has to be tried again.
fn check_places(members: &Rc<Members>) {
    if !members::current().is_some_and(|now| Rc::ptr_eq(&now, members)) {
        boundary::raise(Error::Retry);
    }
}

/// Reads the rows of the last SPI command.
fn rows<T>(read: &mut impl FnMut(&Row<'_>) -> T) -> Vec<T> {
    // SAFETY: SPI_tuptable is NULL or the result of the command that just ran in this connection, with
    // SPI_processed tuples in `vals`.
    unsafe {
        let Some(table) = pg_sys::SPI_tuptable.as_ref() else {
            return Vec::new();
        };
        let count = usize::try_from(pg_sys::SPI_processed).unwrap_or(0);
        (0..count)
            .map(|i| read(&Row::new(*table.vals.add(i), table.tupdesc)))
            .collect()
    }
}

impl Drop for Plan {
    fn drop(&mut self) {
        // SAFETY: kept by `prepare`, freed once; not when the backend exits, which frees everything.
        unsafe {
            if !pg_sys::proc_exit_inprogress {
                pg_sys::SPI_freeplan(self.plan);
            }
        }
    }
}

/// Runs a fixed statement on the extension's own tables once, as their owner. It calls them `auth.…`, as [`OurPlan`].
pub fn query<T>(
    sees: Sees,
    sql: &str,
    arguments: &[(pg_sys::Oid, Option<pg_sys::Datum>)],
    read: impl FnMut(&Row<'_>) -> T,
) -> Vec<T> {
    let _acting = ActingAs::writer(members::extension_owner(), None).without_jit();
    let (types, values): (Vec<_>, Vec<_>) = arguments.iter().copied().unzip();
    let (members, sql) = members::locate(sql);
    let rows = Plan::prepare(&sql, &types).run(sees, &values, 0, read);
    check_places(&members);
    rows
}

/// Runs a command on an application's table, as the extension's owner. Names in it must be quoted.
pub fn command(sql: &str) {
    let _acting = ActingAs::writer(members::extension_owner(), None).without_jit();
    Plan::prepare(sql, &[]).run(Sees::Transaction, &[], 0, |_| ());
}

/// A text argument of [`query`].
pub fn text(value: impl IntoDatum) -> (pg_sys::Oid, Option<pg_sys::Datum>) {
    (pg_sys::TEXTOID, value.into_datum())
}
