//! Streaming standbys.

use std::fs;
use std::thread;
use std::time::{Duration, Instant};

use crate::Cluster;
use crate::place::{place, run};

impl Cluster {
    /// A streaming standby of `primary`, readable.
    #[must_use]
    #[track_caller]
    pub fn start_standby(primary: &Cluster) -> Cluster {
        let standby = Cluster::at(place().folder("standby"), Vec::new());
        let mut basebackup = place().program("pg_basebackup");
        basebackup.args([
            "--write-recovery-conf",
            "--wal-method=stream",
            "--checkpoint=fast",
            "--no-sync",
        ]);
        basebackup
            .arg("--dbname")
            .arg(primary.conninfo("replication", "postgres"));
        basebackup.arg("--pgdata").arg(standby.data());
        run(&mut basebackup);
        standby.launch();
        standby
    }

    /// Waits until this standby has replayed all that `primary` has written by now.
    #[track_caller]
    pub fn wait_replay(&self, primary: &Cluster) {
        let sql = "SELECT pg_current_wal_lsn()::text";
        let written: String = primary
            .connect("postgres")
            .query_one(sql, &[])
            .expect("the WAL position")
            .get(0);
        let mut standby = self.connect("postgres");
        let sql = format!("SELECT coalesce(pg_last_wal_replay_lsn() >= '{written}', false)");
        let deadline = Instant::now() + Duration::from_secs(30);
        while !standby
            .query_one(&sql, &[])
            .expect("the replay position")
            .get::<_, bool>(0)
        {
            assert!(
                Instant::now() < deadline,
                "{written} is not replayed:\n{}",
                self.log()
            );
            thread::sleep(Duration::from_millis(5));
        }
    }

    /// Makes this standby a primary; writable on return.
    #[track_caller]
    pub fn promote(&self) {
        let promoted = self
            .connect("postgres")
            .query_one("SELECT pg_promote()", &[])
            .expect("pg_promote");
        assert!(promoted.get::<_, bool>(0), "not promoted:\n{}", self.log());
        assert!(
            !fs::exists(self.data().join("standby.signal")).unwrap_or(true),
            "still a standby"
        );
    }
}
