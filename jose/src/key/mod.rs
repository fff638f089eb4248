//! Keys: how they enter, what is kept of them, and what they can do.
//!
//! Everything enters as [`KeyMaterial`], which judges a key once and keeps it in one canonical
//! form; [`VerifyingKey`] and [`SigningKey`] are that form made ready for use.

mod bundle;
mod confusion;
mod curve;
mod error;
mod import;
mod jwk;
mod jwks;
mod material;
mod pem;
mod private;
mod public;
mod rsa;
mod secret;
mod signing;
mod verifying;

pub use bundle::{BundledKey, open_keys, seal_keys};
pub use error::KeyError;
pub use jwks::{SkippedMember, import_jwks};
pub use material::KeyMaterial;
pub use secret::Secret;
pub use signing::SigningKey;
pub use verifying::VerifyingKey;
