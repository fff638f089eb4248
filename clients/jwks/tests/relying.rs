//! A database that trusts providers, the role that fetches for it, and key pairs.

use auth_ext_tests::{Ask, Client, Cluster, Value, json};
use jose::{Algorithm, KeyMaterial, Kid, SigningKey, sign_compact};

use crate::program::Program;

/// A key pair of a provider's.
pub struct Key {
    kid: Kid,
    material: KeyMaterial,
    key: SigningKey,
}

impl Key {
    pub fn new(kid: &str) -> Self {
        let material = KeyMaterial::generate(Algorithm::EdDSA).unwrap();
        let key = material.signing_key().unwrap().unwrap();
        Self {
            kid: Kid::new(kid).unwrap(),
            material,
            key,
        }
    }

    pub fn jwk(&self) -> Value {
        let mut jwk: Value =
            serde_json::from_str(self.material.public_jwk.as_deref().unwrap()).unwrap();
        jwk["kid"] = json!(self.kid.as_str());
        jwk
    }

    /// A token of an issuer's, good for a day.
    pub fn token(&self, issuer: &str) -> String {
        let now = std::time::SystemTime::now()
            .duration_since(std::time::UNIX_EPOCH)
            .unwrap()
            .as_secs();
        let claims =
            json!({"iss": issuer, "aud": "app", "sub": "1", "iat": now, "exp": now + 86_400});
        sign_compact(&self.key, Some(&self.kid), "JWT", &claims.to_string()).unwrap()
    }
}

/// What a provider publishes.
pub fn set(keys: &[&Key]) -> String {
    let keys: Vec<_> = keys.iter().map(|key| key.jwk()).collect();
    json!({ "keys": keys }).to_string()
}

pub struct Relying<'c> {
    cluster: &'c Cluster,
    pub db: String,
    pub role: String,
    pub admin: Client,
}

impl<'c> Relying<'c> {
    /// A database with a role that has the profile `fetcher`, and nothing else.
    pub fn new(cluster: &'c Cluster, name: &str) -> Self {
        let db = cluster.database(name);
        let role = format!("fetcher_{db}");
        let mut admin = cluster.connect(&db);
        admin.run(&format!(
            "CREATE ROLE {role} LOGIN; SELECT auth.grant_access('{role}', 'fetcher')"
        ));
        Self {
            cluster,
            db,
            role,
            admin,
        }
    }

    pub fn trust(&mut self, issuer: &str, jwks_uri: &str) {
        self.admin.rows(
            "INSERT INTO auth.issuers (issuer, audience, session_check, jwks_uri) VALUES ($1, '{app}', 'none', $2)",
            &[&issuer, &jwks_uri],
        );
    }

    /// What the database says of a key's token: `valid`, or the reason.
    pub fn verdict(&mut self, issuer: &str, key: &Key) -> String {
        self.admin.verdict(&key.token(issuer))
    }

    /// The program, as this role.
    pub fn program(&self, arguments: &[&str]) -> Program {
        let mut program = Program::new(self.cluster, arguments);
        program.argument(&self.conninfo());
        program
    }

    pub fn conninfo(&self) -> String {
        self.cluster.conninfo(&self.db, &self.role)
    }
}
