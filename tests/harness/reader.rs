//! A listener that catches up by cursor.

use postgres::Client;
use serde_json::Value;

use crate::Ask;

/// A place in the log of events, kept as a client keeps it.
#[derive(Clone)]
pub struct Reader {
    /// The cursor.
    pub cursor: String,
}

impl Reader {
    /// From now on.
    #[track_caller]
    pub fn now(client: &mut Client) -> Self {
        Self {
            cursor: client.one("SELECT auth.invalidation_cursor()", &[]),
        }
    }

    /// The events since the last call, and the cursor moves behind them.
    #[track_caller]
    pub fn catch_up(&mut self, client: &mut Client) -> Vec<Value> {
        let sql = "SELECT event, next_cursor FROM auth.invalidations_since($1)";
        let rows = client.rows(sql, &[&self.cursor]);
        for row in &rows {
            let next: String = row.get(1);
            assert_eq!(next, rows[0].get::<_, String>(1), "one next_cursor for all");
            self.cursor = next;
        }
        rows.iter().map(|row| row.get(0)).collect()
    }
}
