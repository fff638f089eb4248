//! Tokens of any claims, signed here: what no function of the extension would issue.

use jose::{Algorithm, KeyMaterial, Kid, SigningKey, sign_compact};
use postgres::Client;
use serde_json::{Value, json};

use crate::{Ask, ISSUER};

const KID: &str = "mint";

/// An HMAC key that an issuer trusts, and that we have, too.
pub struct Mint {
    key: SigningKey,
    claims: Value,
}

impl Mint {
    /// For the default issuer of an [`App`](crate::App).
    #[track_caller]
    #[must_use]
    pub fn new(client: &mut Client) -> Self {
        Self::of(client, ISSUER)
    }

    /// For an issuer whose audience is `app`.
    #[track_caller]
    #[must_use]
    pub fn of(client: &mut Client, issuer: &str) -> Self {
        let secret = "0123456789abcdef0123456789abcdef";
        client.rows(
            "SELECT auth.import_signing_key($1, 'HS256', $2, $3)",
            &[&secret, &issuer, &KID],
        );
        let material = KeyMaterial::import(secret, Algorithm::HS256).expect("a secret");
        Self {
            key: material.signing_key().expect("a key").expect("that signs"),
            claims: json!({"iss": issuer, "aud": "app"}),
        }
    }

    /// A token of these claims and, unless they are among them, `iss`, `aud`, `iat` (a minute ago), `exp` (in
    /// ten minutes) and a `jti`. A claim that is null is left out.
    #[track_caller]
    #[must_use]
    pub fn token(&self, client: &mut Client, claims: &Value) -> String {
        let now = seconds(client);
        let mut all = self.claims.clone();
        all["iat"] = json!(now - 60);
        all["exp"] = json!(now + 600);
        all["jti"] = json!(client.one::<String>("SELECT gen_random_uuid()::text", &[]));
        let all = all.as_object_mut().expect("an object");
        all.extend(claims.as_object().expect("an object").clone());
        all.retain(|_, value| !value.is_null());
        self.sign("JWT", &serde_json::to_string(&all).expect("JSON"))
    }

    /// A token of this payload, text as it is.
    #[track_caller]
    #[must_use]
    pub fn sign(&self, typ: &str, payload: &str) -> String {
        sign_compact(&self.key, Kid::new(KID).as_ref(), typ, payload).expect("a payload to sign")
    }
}

/// The server's clock, in whole seconds.
#[track_caller]
#[must_use]
pub fn seconds(client: &mut Client) -> i64 {
    client.one(
        "SELECT floor(extract(epoch FROM clock_timestamp()))::bigint",
        &[],
    )
}
