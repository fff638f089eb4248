//! An application that uses the extension: a database with a default issuer and its key, and users tables
//! of every shape that can be attached.

use postgres::types::{FromSqlOwned, ToSql};
use postgres::{Client, Row};

use crate::Cluster;

/// The audience and the name of an application's default issuer.
pub const ISSUER: &str = "https://api.example.com";

/// What tests ask a connection, in few words. A failure is the test's, and names the statement.
pub trait Ask {
    /// Runs statements.
    fn run(&mut self, sql: &str);
    /// The rows of a query.
    fn rows(&mut self, sql: &str, params: &[&(dyn ToSql + Sync)]) -> Vec<Row>;
    /// The one value of a query.
    fn one<T: FromSqlOwned>(&mut self, sql: &str, params: &[&(dyn ToSql + Sync)]) -> T;
    /// The server's process of this connection.
    fn pid(&mut self) -> i32;
    /// A token for a user.
    fn issue(&mut self, user: &str) -> String;
    /// What `check_jwt` says of a token: `valid`, or the reason.
    fn verdict(&mut self, token: &str) -> String;
    /// A user's session version.
    fn version(&mut self, user: &str) -> Option<i64>;
    /// Ends a user's sessions; the new version.
    fn bump(&mut self, user: &str) -> i64;
}

impl Ask for Client {
    #[track_caller]
    fn run(&mut self, sql: &str) {
        if let Err(error) = self.batch_execute(sql) {
            panic!("{error:?}\n{sql}");
        }
    }

    #[track_caller]
    fn rows(&mut self, sql: &str, params: &[&(dyn ToSql + Sync)]) -> Vec<Row> {
        match self.query(sql, params) {
            Ok(rows) => rows,
            Err(error) => panic!("{error:?}\n{sql}"),
        }
    }

    #[track_caller]
    fn one<T: FromSqlOwned>(&mut self, sql: &str, params: &[&(dyn ToSql + Sync)]) -> T {
        let rows = self.rows(sql, params);
        assert_eq!(rows.len(), 1, "the rows of {sql}");
        rows[0].get(0)
    }

    #[track_caller]
    fn pid(&mut self) -> i32 {
        self.one("SELECT pg_backend_pid()", &[])
    }

    #[track_caller]
    fn issue(&mut self, user: &str) -> String {
        self.one("SELECT auth.issue_jwt($1)", &[&user])
    }

    #[track_caller]
    fn verdict(&mut self, token: &str) -> String {
        let sql =
            "SELECT CASE WHEN valid THEN 'valid' ELSE reason END FROM auth.check_jwt($1::text)";
        self.one(sql, &[&token])
    }

    #[track_caller]
    fn version(&mut self, user: &str) -> Option<i64> {
        self.one("SELECT auth.session_version($1)", &[&user])
    }

    #[track_caller]
    fn bump(&mut self, user: &str) -> i64 {
        self.one("SELECT auth.bump_session_version($1)", &[&user])
    }
}

/// A shape of a users table: its definition, and the names in it.
#[derive(Debug)]
pub struct Shape {
    create: &'static str,
    attach: &'static str,
    table: &'static str,
    id: &'static str,
    version: &'static str,
    active: &'static str,
    email: &'static str,
    /// Three users' ids, as the id column prints them.
    pub ids: [&'static str; 3],
}

macro_rules! plain {
    ($type:literal, $ids:expr) => {
        Shape {
            create: concat!(
                "CREATE TABLE users (id ",
                $type,
                " PRIMARY KEY, email text, note text, region text NOT NULL DEFAULT 'eu',
                  is_active boolean NOT NULL DEFAULT true)"
            ),
            attach: "SELECT auth.attach_users('users', bump_on => '{email}')",
            table: "users",
            id: "id",
            version: "session_version",
            active: "is_active",
            email: "email",
            ids: $ids,
        }
    };
}

/// A table of the plainest shape.
pub const PLAIN: Shape = plain!("bigint", ["41", "42", "-9223372036854775808"]);

/// Partitioned by region; the columns of the second partition are in another order.
pub const PARTITIONED: Shape = Shape {
    create: "CREATE TABLE users (id bigint, email text, note text, region text NOT NULL DEFAULT 'eu',
                 is_active boolean NOT NULL DEFAULT true, PRIMARY KEY (id, region)) PARTITION BY LIST (region);
             CREATE TABLE users_eu PARTITION OF users FOR VALUES IN ('eu');
             CREATE TABLE users_us (is_active boolean NOT NULL DEFAULT true, region text NOT NULL DEFAULT 'eu',
                 gone int, email text, id bigint NOT NULL, note text);
             ALTER TABLE users_us DROP COLUMN gone;
             ALTER TABLE users ATTACH PARTITION users_us FOR VALUES IN ('us')",
    ids: ["41", "42", "43"],
    ..PLAIN
};

/// Every name needs quotes, and none is the customary one.
pub const QUOTED: Shape = Shape {
    create: "CREATE SCHEMA \"Odd \"\"Schema\";
             CREATE TABLE \"Odd \"\"Schema\".\"the Users\" (\"User Id\" varchar(40) PRIMARY KEY, \"e-mail\" text,
                 note text, region text NOT NULL DEFAULT 'eu', \"Session Version\" integer NOT NULL DEFAULT 0,
                 \"select\" boolean NOT NULL DEFAULT true)",
    attach: "SELECT auth.attach_users('\"Odd \"\"Schema\".\"the Users\"', 'User Id', 'Session Version', 'select',
                 array['e-mail']::name[])",
    table: "\"Odd \"\"Schema\".\"the Users\"",
    id: "\"User Id\"",
    version: "\"Session Version\"",
    active: "\"select\"",
    email: "\"e-mail\"",
    ids: ["o'neil", "a \"b\" \\c", "ünïcode 🙂"],
};

/// Every shape.
pub const SHAPES: &[Shape] = &[
    PLAIN,
    plain!("integer", ["41", "42", "-2147483648"]),
    plain!("text", ["user_41", "42", "U S E R"]),
    plain!(
        "varchar(64)",
        ["user_01ARZ3NDEKTSV4RRFFQ69G5FAV", "42", "été"]
    ),
    plain!(
        "uuid",
        [
            "00000000-0000-4000-8000-000000000041",
            "00000000-0000-4000-8000-000000000042",
            "ffffffff-ffff-ffff-ffff-ffffffffffff"
        ]
    ),
    PARTITIONED,
    QUOTED,
];

/// A database with an issuer, its key, and an attached users table of three active users.
pub struct App<'c> {
    cluster: &'c Cluster,
    /// Its name.
    pub db: String,
    shape: &'static Shape,
    /// The first user.
    pub ada: &'static str,
    /// The second.
    pub bob: &'static str,
    /// The third.
    pub eve: &'static str,
}

impl<'c> App<'c> {
    /// A fresh one with the plainest table.
    #[track_caller]
    pub fn new(cluster: &'c Cluster, name: &str) -> Self {
        Self::of_shape(cluster, name, &PLAIN)
    }

    /// A fresh one.
    #[track_caller]
    pub fn of_shape(cluster: &'c Cluster, name: &str, shape: &'static Shape) -> Self {
        let db = database_with_key(cluster, name);
        let [ada, bob, eve] = shape.ids;
        let app = Self {
            cluster,
            db,
            shape,
            ada,
            bob,
            eve,
        };
        let mut admin = app.connect();
        admin.run(shape.create);
        admin.run(shape.attach);
        for id in shape.ids {
            app.insert(&mut admin, id);
        }
        app
    }

    /// A fresh one of every shape, each with what it is for a message.
    pub fn of_every_shape(cluster: &'c Cluster, name: &'c str) -> impl Iterator<Item = Self> {
        SHAPES.iter().map(move |shape| {
            println!("--- {shape:?}");
            Self::of_shape(cluster, name, shape)
        })
    }

    /// A connection as the superuser.
    #[track_caller]
    pub fn connect(&self) -> Client {
        self.cluster.connect(&self.db)
    }

    /// How other programs connect to it as a role, as libpq reads it.
    #[must_use]
    pub fn conninfo(&self, role: &str) -> String {
        self.cluster.conninfo(&self.db, role)
    }

    /// SQL with this table's names: `{users}`, `{id}`, `{version}`, `{active}`, `{email}`; and `{ada}`, `{bob}`,
    /// `{eve}` as literals.
    #[must_use]
    pub fn sql(&self, template: &str) -> String {
        let literal = |text: &str| format!("'{}'", text.replace('\'', "''"));
        [
            ("{users}", self.shape.table.to_owned()),
            ("{id}", self.shape.id.to_owned()),
            ("{version}", self.shape.version.to_owned()),
            ("{active}", self.shape.active.to_owned()),
            ("{email}", self.shape.email.to_owned()),
            ("{ada}", literal(self.ada)),
            ("{bob}", literal(self.bob)),
            ("{eve}", literal(self.eve)),
        ]
        .iter()
        .fold(template.to_owned(), |sql, (name, value)| {
            sql.replace(name, value)
        })
    }

    /// Attaches the table (again).
    #[track_caller]
    pub fn attach(&self, client: &mut Client) {
        client.run(self.shape.attach);
    }

    /// Adds a user.
    #[track_caller]
    pub fn insert(&self, client: &mut Client, id: &str) {
        let id = id.replace('\'', "''");
        client.run(&self.sql(&format!("INSERT INTO {{users}} ({{id}}) VALUES ('{id}')")));
    }
}

/// A fresh database with the default issuer and a key that signs for it.
#[track_caller]
pub fn database_with_key(cluster: &Cluster, name: &str) -> String {
    let db = cluster.database(name);
    cluster.connect(&db).run(&format!(
        "INSERT INTO auth.issuers (issuer, audience) VALUES ('{ISSUER}', '{{app}}');
         SELECT auth.create_signing_key()"
    ));
    db
}
