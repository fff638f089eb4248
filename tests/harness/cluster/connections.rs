//! Databases of a cluster, connections to them, and client programs that connect.

use std::path::{Path, PathBuf};
use std::sync::atomic::Ordering;
use std::sync::mpsc::{Receiver, channel};

use postgres::{Client, Config, NoTls, error::DbError};

use super::{Cluster, PATIENCE};
use crate::place::{place, run, run_with_input, try_run};

impl Cluster {
    /// A fresh database with the extension. Its name starts with `name`, and is returned.
    #[track_caller]
    pub fn database(&self, name: &str) -> String {
        let db = self.empty_database(name);
        self.connect(&db)
            .batch_execute("CREATE EXTENSION auth_ext")
            .expect("CREATE EXTENSION auth_ext");
        db
    }

    /// A fresh database without the extension.
    #[track_caller]
    pub fn empty_database(&self, name: &str) -> String {
        let db = format!("{name}_{}", self.databases.fetch_add(1, Ordering::Relaxed));
        let create = format!("CREATE DATABASE \"{db}\"");
        self.connect("postgres")
            .batch_execute(&create)
            .expect("CREATE DATABASE");
        db
    }

    /// A connection as the superuser.
    #[track_caller]
    pub fn connect(&self, db: &str) -> Client {
        self.connect_as(db, "postgres")
    }

    /// A connection as a role, which must be allowed to log in.
    #[track_caller]
    pub fn connect_as(&self, db: &str, role: &str) -> Client {
        self.config(db, role)
            .connect(NoTls)
            .unwrap_or_else(|error| panic!("{role} to {db}: {error:?}"))
    }

    /// A connection as the superuser, and the notices and warnings that it gets.
    #[track_caller]
    pub fn connect_with_notices(&self, db: &str) -> (Client, Receiver<DbError>) {
        let (sender, notices) = channel();
        let mut config = self.config(db, "postgres");
        // Nobody may be listening any more.
        config.notice_callback(move |notice| sender.send(notice).unwrap_or(()));
        (config.connect(NoTls).expect("a connection"), notices)
    }

    pub(super) fn config(&self, db: &str, role: &str) -> Config {
        let mut config = Client::configure();
        config
            .host_path(&self.home)
            .port(self.port)
            .user(role)
            .dbname(db)
            .connect_timeout(PATIENCE);
        config
    }

    /// The folder of the socket, which is what clients take for a host.
    #[must_use]
    pub fn host(&self) -> &Path {
        &self.home
    }

    /// The same for other programs, as libpq reads it.
    #[must_use]
    pub fn conninfo(&self, db: &str, role: &str) -> String {
        format!(
            "host={} port={} user={role} dbname={db}",
            self.home.display(),
            self.port
        )
    }

    /// A script through psql, which stops at the first error; its output.
    #[track_caller]
    pub fn psql(&self, db: &str, script: &str) -> String {
        let mut psql = place().program("psql");
        psql.args(["-XqAt", "-v", "ON_ERROR_STOP=1", "-f", "-"])
            .arg(self.conninfo(db, "postgres"));
        run_with_input(&mut psql, script)
    }

    /// What pg_dump makes of a database.
    #[track_caller]
    pub fn dump(&self, db: &str) -> String {
        self.dump_with(db, &[])
    }

    /// The same with options of pg_dump's.
    #[track_caller]
    pub fn dump_with(&self, db: &str, options: &[&str]) -> String {
        run(place()
            .program("pg_dump")
            .args(options)
            .arg("--dbname")
            .arg(self.conninfo(db, "postgres")))
    }

    /// A new folder for files of the test's, gone with the cluster.
    #[track_caller]
    pub fn scratch(&self, name: &str) -> PathBuf {
        let number = self.databases.fetch_add(1, Ordering::Relaxed);
        let folder = self.home.join(format!("scratch_{name}_{number}"));
        run(place().program("/bin/mkdir").arg(&folder));
        run(place().program("/bin/chmod").arg("777").arg(&folder));
        folder
    }

    /// The table of contents of a dump.
    #[track_caller]
    pub fn list(&self, dump: &str) -> String {
        run(place().program("pg_restore").args(["--list", dump]))
    }

    /// One of PostgreSQL's client programs, connected to a database as a role; its output, or what it complains of.
    pub fn tool(
        &self,
        program: &str,
        db: &str,
        role: &str,
        arguments: &[&str],
    ) -> Result<String, String> {
        let mut tool = place().program(program);
        tool.arg("--dbname").arg(self.conninfo(db, role));
        try_run(tool.args(arguments), "")
    }
}
