//! The service's database, as it is before and after it adopts the extension.

use std::sync::OnceLock;

use auth_ext_tests::{Ask, Client, Listener, Value, json, seconds, service, shared};

/// The service's tables: times are UTC without a zone, and nothing has a default.
const TABLES: &str = "
    CREATE TABLE users (
        id varchar PRIMARY KEY, email varchar NOT NULL, name varchar, password_hash varchar NOT NULL,
        is_active boolean NOT NULL, email_verified boolean NOT NULL,
        created_at timestamp without time zone NOT NULL, updated_at timestamp without time zone NOT NULL);
    CREATE UNIQUE INDEX ix_users_email ON users (email);
    CREATE TABLE user_api_keys (
        id varchar PRIMARY KEY, user_id varchar NOT NULL REFERENCES users (id), name varchar NOT NULL,
        key_hash varchar NOT NULL UNIQUE, prefix varchar NOT NULL, is_active boolean NOT NULL, description text,
        last_used_at timestamp without time zone, expires_at timestamp without time zone,
        created_at timestamp without time zone NOT NULL, updated_at timestamp without time zone NOT NULL);
    CREATE TABLE user_tokens (
        id varchar PRIMARY KEY, user_id varchar NOT NULL, token_hash varchar NOT NULL UNIQUE,
        token_type varchar(50) NOT NULL, expires_at timestamp without time zone NOT NULL,
        used_at timestamp without time zone, created_at timestamp without time zone NOT NULL,
        ip_address varchar(45), user_agent text)";

/// What its administrator runs to adopt the extension.
const ADOPT: &str = "
    CREATE EXTENSION auth_ext;
    INSERT INTO auth.issuers (issuer, audience, user_claim)
        VALUES ('api.robosystems.ai', '{robosystems.ai, roboledger.ai, roboinvestor.ai}', 'user_id');
    SELECT auth.import_signing_key('auth-ext-interop-secret-0123456789abcdef', 'HS256');
    SELECT auth.attach_users('users', bump_on => '{password_hash}');
    SELECT auth.attach_api_keys('user_api_keys')";

/// The user of the service's real token.
pub const ADA: &str = "user_01ARZ3NDEKTSV4RRFFQ69G5FAV";
/// Another active user, who has no API keys.
pub const BOB: &str = "user_01ARZ3NDEKTSV4RRFFQ69G5FAW";
/// An inactive one.
pub const EVE: &str = "user_01ARZ3NDEKTSV4RRFFQ69G5FAX";

/// The first token of `seed-behaviour.md`, by the real service: user Ada, no version claim, valid until 2100.
pub const REAL_TOKEN: &str = "eyJhbGciOiJIUzI1NiIsInR5cCI6IkpXVCJ9.eyJ1c2VyX2lkIjoidXNlcl8wMUFSWjNOREVLVFNWNFJSRkZRNjlHNUZBViIsImp0aSI6IjExMTExMTExLTIyMjItNDMzMy04NDQ0LTU1NTU1NTU1NTU1NSIsImV4cCI6NDEwMjQ0NDgwMCwiaWF0IjoxNzAwMDAwMDAwLCJpc3MiOiJhcGkucm9ib3N5c3RlbXMuYWkiLCJhdWQiOlsicm9ib3N5c3RlbXMuYWkiLCJyb2JvbGVkZ2VyLmFpIiwicm9ib2ludmVzdG9yLmFpIl19.LtM48bVYMxIq8aZVCvvCmnTo8tD7WQWoSn7w_RaQ3IA";

/// An API key as its user holds it, and its SHA-256, by Python.
pub struct Key {
    pub plain: String,
    pub sha256: String,
}

/// A database that the service has used, and that has adopted the extension since.
pub struct Adopted {
    pub db: String,
}

/// What the service's libraries made, once.
fn made() -> &'static Value {
    static MADE: OnceLock<Value> = OnceLock::new();
    MADE.get_or_init(|| service(&["rows"], &Value::Null))
}

impl Adopted {
    #[track_caller]
    pub fn new(name: &str) -> Self {
        let db = shared().empty_database(name);
        let mut a = shared().connect(&db);
        a.run(TABLES);
        let mut insert = |table: &str, row: &Value| {
            let sql = format!(
                "INSERT INTO {table} SELECT * FROM jsonb_populate_record(NULL::{table}, $1)"
            );
            a.execute(&sql, &[row]).unwrap();
        };
        for user in made()["users"].as_object().unwrap().values() {
            insert("users", user);
        }
        for key in made()["keys"].as_object().unwrap().values() {
            insert("user_api_keys", &key["row"]);
        }
        a.run(ADOPT);
        Self { db }
    }

    pub fn connect(&self) -> Client {
        shared().connect(&self.db)
    }

    pub fn listener(&self) -> Listener {
        Listener::on(self.connect(), "auth_invalidation")
    }
}

/// One of the keys that the service made: `plain`, `old_prefix`, `lasting`, `expired`, `ended`, `of_inactive`.
pub fn key(name: &str) -> Key {
    let text = |member: &str| made()["keys"][name][member].as_str().unwrap().to_owned();
    Key {
        plain: text("plain"),
        sha256: text("sha256"),
    }
}

/// A token as the service makes it for a user, with other claims in place of its own; a null one is left out.
#[track_caller]
pub fn pyjwt(client: &mut Client, user: &str, others: &Value) -> String {
    let now = seconds(client);
    let mut claims = json!({
        "user_id": user,
        "jti": client.one::<String>("SELECT gen_random_uuid()::text", &[]),
        "exp": now + 1800,
        "iat": now,
        "iss": "api.robosystems.ai",
        "aud": ["robosystems.ai", "roboledger.ai", "roboinvestor.ai"],
    });
    let members = claims.as_object_mut().unwrap();
    members.extend(others.as_object().unwrap().clone());
    members.retain(|_, value| !value.is_null());
    service(&["sign"], &claims).as_str().unwrap().to_owned()
}

/// One that expired so many minutes ago.
#[track_caller]
pub fn expired(client: &mut Client, user: &str, minutes: i64, others: &Value) -> String {
    let exp = seconds(client) - 60 * minutes;
    let mut all = json!({"exp": exp, "iat": exp - 1800});
    all.as_object_mut()
        .unwrap()
        .extend(others.as_object().unwrap().clone());
    pyjwt(client, user, &all)
}
