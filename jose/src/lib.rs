//! Compact JWS, the rules for JWT claims, and signing keys. Knows nothing of Postgres.
//!
//! A token walks one way: [`Token::decode`] (structure) → [`KeySet::verify`] (signature) →
//! [`Verified::check`] (claims against the issuer's [`Rules`]). Each step's result can only be
//! made by the step before it, so a claim that was never verified cannot be mistaken for one
//! that was. Keys enter by [`KeyMaterial::import`], [`import_jwks`] or [`KeyMaterial::generate`]
//! and are judged there, once.

#![forbid(unsafe_code)]
#![deny(missing_docs)]
#![cfg_attr(
    not(test),
    deny(
        clippy::as_conversions,
        clippy::expect_used,
        clippy::indexing_slicing,
        clippy::panic,
        clippy::unwrap_used,
    )
)]

mod algorithm;
mod audience;
mod base64url;
mod bcrypt;
mod check;
mod claim_path;
mod compact;
mod device;
mod fingerprint;
mod issuer_template;
mod json;
mod jwe;
mod kept;
mod key;
mod keyset;
mod kid;
mod members;
mod random;
mod refresh_token;
mod refusal;
mod rules;
mod security_event;
mod session_version;
mod time;
mod token;
mod verified;

pub use algorithm::{AlgorithmName, UnknownAlgorithm};
pub use bcrypt::{BCRYPT_LONGEST, BCRYPT_MAX_COST, bcrypt_hash, bcrypt_matches};
pub use check::{Claims, Purpose, SessionCheck};
pub use claim_path::ClaimPath;
pub use compact::sign_compact;
pub use device::{InvalidDevice, device_hash};
pub use fingerprint::{Fingerprint, digest};
pub use issuer_template::IssuerTemplate;
pub use jsonwebtoken::Algorithm;
pub use kept::KeptClaims;
pub use key::{
    BundledKey, KeyError, KeyMaterial, Secret, SigningKey, SkippedMember, VerifyingKey,
    import_jwks, open_keys, seal_keys,
};
pub use keyset::{KeySet, TrustedKey};
pub use kid::Kid;
pub use members::{member_names, without_members};
pub use random::{random_octets, random_text, random_uuid};
pub use refresh_token::RefreshToken;
pub use refusal::{Refusal, Refused};
pub use rules::{RequiredClaims, Rules, TokenTypes};
pub use security_event::{EVENT_LIFETIME, EventSubject, SecurityEvent};
pub use session_version::SessionVersion;
pub use time::UnixMicros;
pub use token::Token;
pub use verified::{Verified, judge_payload};
