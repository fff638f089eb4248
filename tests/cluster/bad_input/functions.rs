//! Every function that takes text or JSON, with input for its arguments.

use auth_ext_tests::Client;

use super::generate::{Forger, Random};

/// A function of schema `auth` that takes text or JSON.
pub struct Function {
    pub name: String,
    /// Names and types.
    pub arguments: Vec<(String, String)>,
}

/// All of them, so that none can be forgotten.
pub fn functions(client: &mut Client) -> Vec<Function> {
    let rows = client
        .query(
            "SELECT p.proname::text,
                    p.proargnames[1:p.pronargs] AS names,
                    ARRAY(SELECT t::regtype::text FROM unnest(p.proargtypes) WITH ORDINALITY AS a(t, n) ORDER BY n) AS types
             FROM pg_proc AS p
             WHERE p.pronamespace = 'auth'::regnamespace AND p.prorettype <> 'trigger'::regtype
               -- All that it does is to refuse, with PostgREST's SQLSTATE and with what it is given.
               AND p.proname <> 'refuse_request'
               AND p.proargtypes::oid[] && '{text,json,jsonb,name,varchar}'::regtype[]::oid[]
             ORDER BY 1",
            &[],
        )
        .unwrap();
    let functions: Vec<_> = rows
        .iter()
        .map(|row| Function {
            name: row.get(0),
            arguments: row
                .get::<_, Vec<String>>(1)
                .into_iter()
                .zip(row.get::<_, Vec<String>>(2))
                .collect(),
        })
        .collect();
    assert!(functions.len() >= 16, "where have they gone?");
    functions
}

impl Function {
    /// A call; every parameter is given as text.
    pub fn call(&self) -> String {
        let casts: Vec<_> = self
            .arguments
            .iter()
            .enumerate()
            .map(|(i, (_, kind))| format!("${}::text::{kind}", i + 1))
            .collect();
        format!("SELECT * FROM auth.{}({})", self.name, casts.join(", "))
    }

    /// A call with literals; the others are NULL.
    pub fn call_with(&self, at: usize, literal: &str) -> String {
        let arguments: Vec<_> = self
            .arguments
            .iter()
            .enumerate()
            .map(|(i, (name, kind))| match (i == at, name.as_str()) {
                (true, _) => format!("({literal})::{kind}"),
                (false, "alg") => "'HS256'".to_owned(),
                (false, "user_id") => "'alice'".to_owned(),
                (false, "api_keys" | "users") => {
                    format!("'{}'", if name == "users" { "users" } else { "keys" })
                }
                (false, _) => format!("NULL::{kind}"),
            })
            .collect();
        format!(
            "SELECT count(*) FROM (SELECT * FROM auth.{}({})) AS t",
            self.name,
            arguments.join(", ")
        )
    }
}

/// Input for an argument. A type that is not here is a new one: teach it to this test.
pub fn argument(random: &mut Random, forger: &Forger, name: &str, kind: &str) -> Option<String> {
    if random.once_in(12) || (name == "issuer" && !random.once_in(4)) {
        return None;
    }
    let fixed = |of: &[&str], random: &mut Random| Some(random.pick(of).to_owned());
    match (name, kind) {
        ("users" | "api_keys", "regclass") => fixed(
            &[
                "users",
                "keys",
                "0",
                "4294967295",
                "pg_class",
                "auth.issuers",
            ],
            random,
        ),
        ("alg", "text") if random.once_in(2) => fixed(
            &["HS256", "HS512", "ES256", "EdDSA", "none", "hs256"],
            random,
        ),
        (_, "text") => Some(match random.below(7) {
            0 => forger.strange(random),
            1 => forger.mutated(random),
            2 => random.json(),
            3 => random
                .pick(&[
                    "",
                    "alice",
                    "hmac",
                    "ec",
                    "https://issuer.test",
                    "some-other-secret-0123456789abcdef-0123456789abcdef",
                    "-----BEGIN PUBLIC KEY-----\nAAAA\n-----END PUBLIC KEY-----",
                ])
                .to_owned(),
            4 => random.text(600),
            _ => {
                let length = random.below(60);
                random.text(length)
            }
        }),
        (_, "jsonb") => Some(random.json()),
        (_, "name") => fixed(
            &[
                "id",
                "is_active",
                "session_version",
                "nosuch",
                "",
                "a\"b",
                "user_id",
                "\u{e9}",
                "ctid",
            ],
            random,
        ),
        (_, "name[]") => fixed(
            &[
                "{}",
                "{NULL}",
                "{password_hash}",
                "{id}",
                "{nosuch,\"\"}",
                "{{a},{b}}",
            ],
            random,
        ),
        (_, "bigint") => fixed(
            &["0", "-1", "9223372036854775807", "-9223372036854775808"],
            random,
        ),
        (_, "interval") => fixed(
            &[
                "0",
                "-1 us",
                "1 day",
                "178000000 years",
                "-178000000 years",
                "1000000 years",
                "2147483647 days",
            ],
            random,
        ),
        (_, "timestamp with time zone") => fixed(
            &[
                "infinity",
                "-infinity",
                "294276-12-31",
                "4713-01-01 BC",
                "now",
            ],
            random,
        ),
        (_, "regrole") => fixed(&["postgres", "pg_monitor", "nosuch", "-", "0"], random),
        (_, "regclass") => fixed(
            &["users", "pg_class", "auth.issuers", "nosuch", "-", "0"],
            random,
        ),
        (_, "inet") => fixed(&["203.0.113.7", "::/0", "10.0.0.0/8"], random),
        _ => panic!("input for an argument {name} of type {kind}"),
    }
}

/// PostgreSQL's own words for a text that is no value of a type: our function was not called then.
pub fn is_of_its_type(client: &mut Client, kind: &str, value: Option<&str>) -> bool {
    kind == "text"
        || client
            .query(&format!("SELECT $1::text::{kind}"), &[&value])
            .is_ok()
}
