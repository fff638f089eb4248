//! One key for each algorithm's name, always the same: a finding must happen again. All are examples; their files are those of the tests.

use jose::{AlgorithmName, KeyMaterial, KeySet, Kid, SigningKey, TrustedKey, UnixMicros};
use jsonwebtoken::DecodingKey;

pub const NOW: UnixMicros = UnixMicros(1_700_000_000_000_000);

pub struct Holder {
    pub name: AlgorithmName,
    pub kid: Kid,
    pub signing: SigningKey,
    /// The same key as jsonwebtoken has it.
    pub theirs: DecodingKey,
}

pub struct Ring {
    pub holders: Vec<Holder>,
    pub keys: KeySet,
}

thread_local! {
    static RING: &'static Ring = Box::leak(Box::new(Ring::new()));
}

impl Ring {
    pub fn get() -> &'static Self {
        RING.with(|ring| *ring)
    }

    /// A key's `kid` is its algorithm's name.
    fn new() -> Self {
        let materials = AlgorithmName::ALL.map(|name| {
            (
                name,
                KeyMaterial::import(text(name), name).expect("a good key"),
            )
        });
        let holders = materials.iter().map(|(name, material)| Holder {
            name: *name,
            kid: kid(*name),
            signing: material
                .signing_key()
                .expect("a good key")
                .expect("a private key"),
            theirs: their_key(material),
        });
        let trusted = materials.iter().map(|(name, material)| TrustedKey {
            kid: kid(*name),
            key: material.verifying_key().expect("a good key"),
            until: None,
        });
        Self {
            holders: holders.collect(),
            keys: KeySet::new(trusted.collect()),
        }
    }

    pub fn holder(&self, kid: &str) -> Option<&Holder> {
        self.holders
            .iter()
            .find(|holder| holder.kid.as_str() == kid)
    }
}

fn kid(name: AlgorithmName) -> Kid {
    Kid::new(name.name()).expect("a short name")
}

fn text(name: AlgorithmName) -> &'static str {
    match name.name() {
        "ES256" => include_str!("../../tests/keys/p256.pkcs8.pem"),
        "ES384" => include_str!("../../tests/keys/p384.sec1.pem"),
        "EdDSA" | "Ed25519" => include_str!("../../tests/keys/ed25519.pkcs8.pem"),
        "HS256" => "an example of a secret for HS256, of the fuzz targets",
        "HS384" => "an example of a secret for HS384, of the fuzz targets",
        "HS512" => "an example of a secret for HS512, of the fuzz targets: 64 octets or more",
        _ => include_str!("../../tests/keys/rsa.pkcs8.pem"),
    }
}

/// A key as jsonwebtoken reads it.
pub fn their_key(material: &KeyMaterial) -> DecodingKey {
    match (&material.public_jwk, &material.secret) {
        (Some(jwk), _) => {
            let jwk: jsonwebtoken::jwk::Jwk = serde_json::from_str(jwk).expect("a canonical JWK");
            DecodingKey::from_jwk(&jwk).expect("a good key")
        }
        (None, Some(secret)) => DecodingKey::from_secret(secret.expose()),
        (None, None) => panic!("a key without anything"),
    }
}
