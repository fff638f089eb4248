//! Keys as PEM. The files were made by OpenSSL 3.0.

mod samples;

use jose::{Algorithm, KeyError, KeyMaterial};
use samples::{file, why};

#[test]
fn the_two_halves_of_a_pem_key_are_one_key_in_every_encoding() {
    for (alg, private, public) in [
        (
            Algorithm::RS256,
            &[file!("rsa.pkcs8.pem"), file!("rsa.pkcs1.pem")][..],
            &[file!("rsa.public.pem"), file!("rsa.public-pkcs1.pem")][..],
        ),
        (
            Algorithm::PS512,
            &[file!("rsa.pkcs8.pem")],
            &[file!("rsa.public.pem")],
        ),
        (
            Algorithm::ES256,
            &[file!("p256.pkcs8.pem"), file!("p256.sec1.pem")],
            &[file!("p256.public.pem")],
        ),
        (
            Algorithm::ES384,
            &[file!("p384.sec1.pem")],
            &[file!("p384.public.pem")],
        ),
        (
            Algorithm::EdDSA,
            &[file!("ed25519.pkcs8.pem")],
            &[file!("ed25519.public.pem")],
        ),
    ] {
        for private in private {
            let pair = KeyMaterial::import(private, alg).unwrap();
            let signature = pair.signing_key().unwrap().unwrap().sign(b"x").unwrap();
            for public in public {
                let half = KeyMaterial::import(public, alg).unwrap();
                assert_eq!(half.public_jwk, pair.public_jwk, "{alg:?}");
                assert_eq!(half.default_kid(), pair.default_kid(), "{alg:?}");
                assert!(half.signing_key().unwrap().is_none());
                let key = half.verifying_key().unwrap();
                assert!(key.verify(b"x", &signature), "{alg:?}");
                assert!(!key.verify(b"y", &signature), "{alg:?}");
            }
        }
    }
}

#[test]
fn a_pem_that_is_not_one_plain_key_of_the_algorithm_is_refused() {
    use Algorithm::{ES256, EdDSA, RS256};
    assert_eq!(why(file!("certificate.pem"), ES256), KeyError::Certificate);
    assert_eq!(
        why(&file!("p256.public.pem").replace('\n', "\\n"), ES256),
        KeyError::PemLineEnds
    );
    assert_eq!(
        why(file!("encrypted.pkcs8.pem"), ES256),
        KeyError::EncryptedPem
    );
    assert_eq!(
        why(file!("encrypted.sec1.pem"), ES256),
        KeyError::EncryptedPem
    );
    assert_eq!(
        why(file!("p256.with-parameters.pem"), ES256),
        KeyError::PemParameters
    );
    assert_eq!(
        why(file!("rsa1024.public.pem"), RS256),
        KeyError::RsaModulus
    );
    assert_eq!(
        why(file!("secp256k1.sec1.pem"), ES256),
        KeyError::InvalidPrivateKey
    );
    assert_eq!(
        why(file!("secp256k1.public.pem"), ES256),
        KeyError::InvalidPublicKey
    );
    assert_eq!(
        why(file!("p384.sec1.pem"), ES256),
        KeyError::InvalidPrivateKey
    );
    assert_eq!(
        why(file!("p384.public.pem"), ES256),
        KeyError::InvalidPublicKey
    );
    assert_eq!(
        why(file!("rsa.pkcs8.pem"), ES256),
        KeyError::InvalidPrivateKey
    );
    assert_eq!(why(file!("rsa.pkcs1.pem"), ES256), KeyError::KeyType);
    assert_eq!(why(file!("p256.sec1.pem"), RS256), KeyError::KeyType);
    assert_eq!(
        why(file!("rsa.public.pem"), EdDSA),
        KeyError::InvalidPublicKey
    );
    assert_eq!(
        why(
            "-----BEGIN PUBLIC KEY-----\n%%%\n-----END PUBLIC KEY-----",
            ES256
        ),
        KeyError::PemSyntax
    );
    assert_eq!(
        why("-----BEGIN PUBLIC KEY-----", ES256),
        KeyError::PemSyntax
    );
    assert_eq!(why("", ES256), KeyError::Unrecognised);
    assert_eq!(why("secret", ES256), KeyError::Unrecognised);
}

#[test]
fn a_compressed_point_becomes_the_same_key_as_the_whole_one() {
    let [whole, compressed] = [
        file!("p256.public.pem"),
        file!("p256.public-compressed.pem"),
    ]
    .map(|text| {
        KeyMaterial::import(text, Algorithm::ES256)
            .unwrap()
            .public_jwk
    });
    assert_eq!(compressed, whole);
}

#[test]
fn a_private_pem_whose_public_half_is_anothers_is_refused() {
    for (alg, label, at_end) in [
        (Algorithm::ES256, "PRIVATE KEY", true),
        (Algorithm::ES384, "PRIVATE KEY", true),
        (Algorithm::RS256, "PRIVATE KEY", false),
    ] {
        let [one, two] = [(); 2].map(|()| {
            let material = KeyMaterial::generate(alg).unwrap();
            material.secret.unwrap().expose().to_vec()
        });
        let mut mixed = one.clone();
        if at_end {
            let point = one.len() - 64;
            mixed[point..].copy_from_slice(&two[point..]);
        } else {
            mixed[60] ^= 1;
        }
        let text = pem::encode(&pem::Pem::new(label, mixed));
        assert_eq!(why(&text, alg), KeyError::InvalidPrivateKey, "{alg:?}");
        assert!(KeyMaterial::import(&pem::encode(&pem::Pem::new(label, one)), alg).is_ok());
    }
}
