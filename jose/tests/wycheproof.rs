//! Project Wycheproof's signatures, of every algorithm and key size that is supported.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jose::{Algorithm, KeyError, KeyMaterial};
use serde_json::json;
use wycheproof::{TestResult, ecdsa, eddsa, mac, rsa_pkcs1_verify as pkcs1, rsa_pss_verify as pss};

/// How many signatures came out as published.
#[derive(Default)]
struct Count {
    held: usize,
    refused: usize,
}

impl Count {
    /// `acceptable` ones (a signature whose DigestInfo lacks its NULL) are refused.
    fn judge(
        &mut self,
        key: &KeyMaterial,
        message: &[u8],
        signature: &[u8],
        expected: TestResult,
        id: usize,
    ) {
        let key = key.verifying_key().unwrap();
        let holds = key.verify(message, &signature.to_vec());
        assert_eq!(holds, expected == TestResult::Valid, "test {id}");
        if holds {
            self.held += 1;
        } else {
            self.refused += 1;
        }
    }

    fn assert(&self, held: usize, refused: usize) {
        assert_eq!((self.held, self.refused), (held, refused));
    }
}

#[test]
fn macs_come_out_as_published() {
    let mut count = Count::default();
    for (name, algorithm) in [
        (mac::TestName::HmacSha256, Algorithm::HS256),
        (mac::TestName::HmacSha384, Algorithm::HS384),
        (mac::TestName::HmacSha512, Algorithm::HS512),
    ] {
        for group in mac::TestSet::load(name).unwrap().test_groups {
            for test in group.tests {
                let jwk =
                    json!({"kty": "oct", "k": URL_SAFE_NO_PAD.encode(&test.key[..])}).to_string();
                let key = match KeyMaterial::import(&jwk, algorithm) {
                    Ok(key) => key,
                    Err(error) => {
                        // Stricter: RFC 7518 section 3.2 wants a key as long as the hash.
                        assert_eq!(error, KeyError::SecretTooShort);
                        continue;
                    }
                };
                // A truncated MAC is valid there, but no JWS signature.
                let is_whole = group.tag_size == 8 * hash(algorithm);
                let expected = if is_whole {
                    test.result
                } else {
                    TestResult::Invalid
                };
                count.judge(&key, &test.msg, &test.tag, expected, test.tc_id);
            }
        }
    }
    count.assert(90, 414);
}

/// The length of the algorithm's hash in octets.
fn hash(algorithm: Algorithm) -> usize {
    match algorithm {
        Algorithm::HS256 | Algorithm::PS256 => 32,
        Algorithm::HS384 | Algorithm::PS384 => 48,
        _ => 64,
    }
}

#[test]
fn ecdsa_signatures_come_out_as_published() {
    let mut count = Count::default();
    for (name, algorithm) in [
        (ecdsa::TestName::EcdsaSecp256r1Sha256P1363, Algorithm::ES256),
        (ecdsa::TestName::EcdsaSecp384r1Sha384P1363, Algorithm::ES384),
    ] {
        for group in ecdsa::TestSet::load(name).unwrap().test_groups {
            let key = KeyMaterial::import(&group.pem, algorithm).unwrap();
            for test in &group.tests {
                count.judge(&key, &test.msg, &test.sig, test.result, test.tc_id);
            }
        }
    }
    count.assert(366, 176);
}

#[test]
fn ed25519_signatures_come_out_as_published() {
    let mut count = Count::default();
    for group in eddsa::TestSet::load(eddsa::TestName::Ed25519)
        .unwrap()
        .test_groups
    {
        let key = KeyMaterial::import(&group.pem, Algorithm::EdDSA).unwrap();
        for test in &group.tests {
            count.judge(&key, &test.msg, &test.sig, test.result, test.tc_id);
        }
    }
    count.assert(88, 63);
}

#[test]
fn rsa_signatures_come_out_as_published() {
    use pkcs1::TestName::*;
    let mut count = Count::default();
    for (name, algorithm) in [
        (Rsa2048Sha256, Algorithm::RS256),
        (Rsa2048Sha384, Algorithm::RS384),
        (Rsa2048Sha512, Algorithm::RS512),
        (Rsa3072Sha256, Algorithm::RS256),
        (Rsa3072Sha384, Algorithm::RS384),
        (Rsa3072Sha512, Algorithm::RS512),
        (Rsa4096Sha256, Algorithm::RS256),
        (Rsa4096Sha384, Algorithm::RS384),
        (Rsa4096Sha512, Algorithm::RS512),
        (Rsa8192Sha256, Algorithm::RS256),
        (Rsa8192Sha384, Algorithm::RS384),
        (Rsa8192Sha512, Algorithm::RS512),
    ] {
        for group in pkcs1::TestSet::load(name).unwrap().test_groups {
            let key = KeyMaterial::import(&group.pem, algorithm).unwrap();
            for test in &group.tests {
                count.judge(&key, &test.msg, &test.sig, test.result, test.tc_id);
            }
        }
    }
    count.assert(89, 3017);
}

#[test]
fn rsa_pss_signatures_come_out_as_published() {
    use pss::TestName::*;
    let mut count = Count::default();
    for (name, algorithm, is_jws) in [
        (RsaPss2048Sha256Mgf1SaltLen32, Algorithm::PS256, true),
        (RsaPss2048Sha384Mgf1SaltLen48, Algorithm::PS384, true),
        (RsaPss3072Sha256Mgf1SaltLen32, Algorithm::PS256, true),
        (RsaPss4096Sha256Mgf1SaltLen32, Algorithm::PS256, true),
        (RsaPss4096Sha384Mgf1SaltLen48, Algorithm::PS384, true),
        (RsaPss4096Sha512Mgf1SaltLen64, Algorithm::PS512, true),
        // A salt as long as the hash is the rule (RFC 7518 section 3.5). These have another, but
        // for the one test that changes its length.
        (RsaPss2048Sha256Mgf1SaltLen0, Algorithm::PS256, false),
        (RsaPss4096Sha512Mgf1SaltLen32, Algorithm::PS512, false),
    ] {
        for group in pss::TestSet::load(name).unwrap().test_groups {
            let key = KeyMaterial::import(&group.pem, algorithm).unwrap();
            for test in &group.tests {
                let is_as_long = test.comment == format!("s_len changed to {}", hash(algorithm));
                let expected = match (is_jws, is_as_long) {
                    (true, _) => test.result,
                    (false, true) => TestResult::Valid,
                    (false, false) => TestResult::Invalid,
                };
                count.judge(&key, &test.msg, &test.sig, expected, test.tc_id);
            }
        }
    }
    count.assert(512, 553);
}
