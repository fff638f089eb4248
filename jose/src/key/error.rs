//! Why a key is refused. The messages name the rule, never the material.

/// A key, a key document or a signature that cannot be made, and why.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, thiserror::Error)]
pub enum KeyError {
    /// Neither form of key was recognised.
    #[error("the key is neither a PEM nor a JWK")]
    Unrecognised,
    /// RFC 7468.
    #[error("the PEM cannot be read")]
    PemSyntax,
    /// More than one armoured block: which one is meant would be a guess.
    #[error("the PEM holds several blocks; give exactly one")]
    SeveralPemBlocks,
    /// A passphrase would be needed.
    #[error("the PEM is encrypted; give the key unencrypted")]
    EncryptedPem,
    /// RFC 5915 keys as `openssl ecparam -genkey` writes them.
    #[error(
        "the PEM has a block EC PARAMETERS before the key; give the block EC PRIVATE KEY alone"
    )]
    PemParameters,
    /// A PEM out of an environment variable or a JSON document.
    #[error("the line ends of the PEM are written as \\n; give it with real line ends")]
    PemLineEnds,
    /// RFC 5280.
    #[error(
        "the PEM is an X.509 certificate; give its public key: openssl x509 -in certificate.pem -noout -pubkey"
    )]
    Certificate,
    /// Parameters, or another thing that is no key.
    #[error(
        "the PEM holds no key: its label must be PRIVATE KEY, RSA PRIVATE KEY, EC PRIVATE KEY, PUBLIC KEY or RSA PUBLIC KEY"
    )]
    PemLabel,
    /// The key confusion of RFC 8725 section 2.1.
    #[error("a public or private key cannot serve as an HMAC secret")]
    KeyAsSecret,
    /// RFC 7518 section 3.2.
    #[error(
        "the HMAC secret is shorter than the hash (32, 48 or 64 octets for HS256, HS384 or HS512)"
    )]
    SecretTooShort,
    /// RFC 7517 section 4.
    #[error("the JWK is not a JSON object with unique member names")]
    JwkSyntax,
    /// RFC 7518 section 6.
    #[error(
        "the JWK's \"{0}\" is missing, of the wrong type or length, or not canonical base64url"
    )]
    JwkMember(&'static str),
    /// `kty` or `crv`, or the type of a PEM's key.
    #[error("the key's type or curve does not fit the algorithm")]
    KeyType,
    /// RFC 7517 section 4.4.
    #[error("the JWK names another algorithm")]
    AlgorithmMember,
    /// RFC 7517 section 4.4, in a JWKS.
    #[error("the JWK's algorithm, type or curve is not supported")]
    Unsupported,
    /// RFC 7517 section 4.2.
    #[error("the JWK's use is not sig")]
    Use,
    /// RFC 7517 section 4.3.
    #[error("the JWK's key_ops allow no signatures")]
    Operations,
    /// RFC 7517 section 4.5.
    #[error("the JWK's kid is not a string of at most 512 octets")]
    Kid,
    /// RFC 7517 section 4.5, made a rule.
    #[error("another key of the JWKS has the same kid")]
    DuplicateKid,
    /// A private key in a document that is meant to be public.
    #[error("the JWK is private; a JWKS holds public keys")]
    PrivateInJwks,
    /// A secret in a document that is meant to be public.
    #[error("the JWK is symmetric; a JWKS holds public keys")]
    SymmetricInJwks,
    /// RFC 7518 section 3.3; the upper bound keeps verification affordable.
    #[error("the RSA modulus must be an odd number of 2048 to 8192 bits")]
    RsaModulus,
    /// RFC 8017 section 3.1.
    #[error("the RSA exponent must be an odd number from 3 to 33 bits")]
    RsaExponent,
    /// CVE-2017-15361.
    #[error("the RSA key was made by a generator with the ROCA weakness (CVE-2017-15361)")]
    Roca,
    /// Off the curve, of small order, or not canonically encoded.
    #[error("the public key is not a valid point of its curve")]
    Point,
    /// The encoding of a public key.
    #[error("the public key cannot be read")]
    InvalidPublicKey,
    /// The encoding or consistency of a private key.
    #[error("the private key cannot be read, is inconsistent, or does not fit the algorithm")]
    InvalidPrivateKey,
    /// Two halves of different keys.
    #[error("the private key does not belong to the public key")]
    Mismatch,
    /// What is stored of a key lacks the part that is needed.
    #[error("the stored key is incomplete")]
    Incomplete,
    /// RFC 7517 section 5.
    #[error("the document is not a JWKS: a JSON object with an array named keys")]
    NotAJwks,
    /// RFC 7518 section 8.8 wants passphrases that cannot be guessed.
    #[error("a passphrase has at least 12 characters")]
    Passphrase,
    /// Which of the two, nobody is told.
    #[error("the bundle cannot be opened: another passphrase, or it was changed")]
    Bundle,
    /// Taking such a document over would end every key that came before it.
    #[error("the JWKS has members, and none is usable")]
    NothingUsable,
    /// What is to be signed would be refused when verified.
    #[error("the token's payload is not a strict JSON object, or its kid or typ is unusable")]
    UnsignableToken,
    /// The cryptographic library failed.
    #[error("the cryptographic library failed")]
    Crypto,
}
