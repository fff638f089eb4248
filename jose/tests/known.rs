//! Published examples, and a token of the service whose tokens must keep working.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jose::{
    Algorithm, KeyMaterial, KeySet, Kid, Purpose, Refusal, Rules, Token, TrustedKey, UnixMicros,
};

fn key_set(material: &KeyMaterial) -> KeySet {
    KeySet::new(vec![TrustedKey {
        kid: Kid::new("k").unwrap(),
        key: material.verifying_key().unwrap(),
        until: None,
    }])
}

/// RFC 7515 appendices A.1 to A.3 share this payload (line ends are CR LF).
const PAYLOAD: &str =
    "{\"iss\":\"joe\",\r\n \"exp\":1300819380,\r\n \"http://example.com/is_root\":true}";

const A1_KEY: &str = r#"{"kty":"oct","k":"AyM1SysPpbyDfgZld3umj1qzKObwVMkoqQ-EstJQLr_T-1qS0gZH75aKtMN3Yj0iPS4hcgUuTwjAzZr1Z9CAow"}"#;
const A1: &str = "eyJ0eXAiOiJKV1QiLA0KICJhbGciOiJIUzI1NiJ9.eyJpc3MiOiJqb2UiLA0KICJleHAiOjEzMDA4MTkzODAsDQogImh0dHA6Ly9leGFtcGxlLmNvbS9pc19yb290Ijp0cnVlfQ.dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk";

const A2_KEY: &str = r#"{"kty":"RSA","n":"ofgWCuLjybRlzo0tZWJjNiuSfb4p4fAkd_wWJcyQoTbji9k0l8W26mPddxHmfHQp-Vaw-4qPCJrcS2mJPMEzP1Pt0Bm4d4QlL-yRT-SFd2lZS-pCgNMsD1W_YpRPEwOWvG6b32690r2jZ47soMZo9wGzjb_7OMg0LOL-bSf63kpaSHSXndS5z5rexMdbBYUsLA9e-KXBdQOS-UTo7WTBEMa2R2CapHg665xsmtdVMTBQY4uDZlxvb3qCo5ZwKh9kG4LT6_I5IhlJH7aGhyxXFvUK-DWNmoudF8NAco9_h9iaGNj8q2ethFkMLs91kzk2PAcDTW9gb54h4FRWyuXpoQ","e":"AQAB"}"#;
const A2: &str = "eyJhbGciOiJSUzI1NiJ9.eyJpc3MiOiJqb2UiLA0KICJleHAiOjEzMDA4MTkzODAsDQogImh0dHA6Ly9leGFtcGxlLmNvbS9pc19yb290Ijp0cnVlfQ.cC4hiUPoj9Eetdgtv3hF80EGrhuB__dzERat0XF9g2VtQgr9PJbu3XOiZj5RZmh7AAuHIm4Bh-0Qc_lF5YKt_O8W2Fp5jujGbds9uJdbF9CUAr7t1dnZcAcQjbKBYNX4BAynRFdiuB--f_nZLgrnbyTyWzO75vRK5h6xBArLIARNPvkSjtQBMHlb1L07Qe7K0GarZRmB_eSN9383LcOLn6_dO--xi12jzDwusC-eOkHWEsqtFZESc6BfI7noOPqvhJ1phCnvWh6IeYI2w9QOYEUipUTI8np6LbgGY9Fs98rqVt5AXLIhWkWywlVmtVrBp0igcN_IoypGlUPQGe77Rw";

const A3_KEY: &str = r#"{"kty":"EC","crv":"P-256","x":"f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU","y":"x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0"}"#;
const A3: &str = "eyJhbGciOiJFUzI1NiJ9.eyJpc3MiOiJqb2UiLA0KICJleHAiOjEzMDA4MTkzODAsDQogImh0dHA6Ly9leGFtcGxlLmNvbS9pc19yb290Ijp0cnVlfQ.DtEhU3ljbEg8L38VWAfUAqOyKAM6-Xx-F4GawxaepmXFCgfTjDxw5djxLa8ISlSApmWQxfKTUJqPP3-Kg6NU1Q";

#[test]
fn the_examples_of_rfc_7515_verify() {
    for (key, algorithm, text) in [
        (A1_KEY, Algorithm::HS256, A1),
        (A2_KEY, Algorithm::RS256, A2),
        (A3_KEY, Algorithm::ES256, A3),
    ] {
        let set = key_set(&KeyMaterial::import(key, algorithm).unwrap());
        let verified = set
            .verify(Token::decode(text).unwrap(), UnixMicros(0))
            .unwrap();
        assert_eq!(verified.payload_json(), PAYLOAD);
        let rules = Rules {
            user_claim: jose::ClaimPath::parse("iss").unwrap(),
            ..Rules::new("joe".to_owned(), Vec::new())
        };
        let at =
            |seconds: i64| verified.check(&rules, Purpose::Access, UnixMicros(seconds * 1_000_000));
        assert!(at(1_300_819_379).is_ok());
        assert_eq!(at(1_300_819_380).unwrap_err().reason, Refusal::Expired);
    }
}

/// The payload is plain text, so that only the signature can be judged.
#[test]
fn the_example_of_rfc_8037_a4_is_signed_and_verified() {
    let key = r#"{"kty":"OKP","crv":"Ed25519","d":"nWGxne_9WmC6hEr0kuwsxERJxWl7MmkZcDusAxyuf2A","x":"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"}"#;
    let input = b"eyJhbGciOiJFZERTQSJ9.RXhhbXBsZSBvZiBFZDI1NTE5IHNpZ25pbmc";
    let expected =
        "hgyY0il_MGCjP0JzlnLWG1PPOt7-09PGcvMg3AIbQR6dWbhijcNR4ki4iylGjg5BhVsPt9g7sVvpAr_MuM0KAg";
    let material = KeyMaterial::import(key, Algorithm::EdDSA).unwrap();
    let signature = material
        .signing_key()
        .unwrap()
        .unwrap()
        .sign(input)
        .unwrap();
    assert_eq!(URL_SAFE_NO_PAD.encode(&signature), expected);
    assert!(material.verifying_key().unwrap().verify(input, &signature));
}

#[test]
fn the_thumbprints_are_those_of_rfc_7638_and_rfc_8037() {
    // RFC 7638 section 3.1: its example has `alg` and `kid`, which do not count.
    let rsa = r#"{"kty":"RSA","n":"0vx7agoebGcQSuuPiLJXZptN9nndrQmbXEps2aiAFbWhM78LhWx4cbbfAAtVT86zwu1RK7aPFFxuhDR1L6tSoc_BJECPebWKRXjBZCiFV4n3oknjhMstn64tZ_2W-5JsGY4Hc5n9yBXArwl93lqt7_RN5w6Cf0h4QyQ5v-65YGjQR0_FDW2QvzqY368QQMicAtaSqzs8KJZgnYb9c7d0zgdAZHzu6qMQvRL5hajrn1n91CbOpbISD08qNLyrdkt-bFTWhAI4vMQFh6WeZu0fM4lFd2NcRwr3XPksINHaQ-G_xBniIqbw0Ls1jF44-csFCur-kEgU8awapJzKnqDKgw","e":"AQAB","alg":"RS256","kid":"2011-04-29"}"#;
    let material = KeyMaterial::import(rsa, Algorithm::RS256).unwrap();
    assert_eq!(material.kid, Kid::new("2011-04-29"));
    assert_eq!(
        material.default_kid().unwrap().as_str(),
        "NzbLsXh8uDCcd-6MNwXF4W_7noWXFZAfHkxZsRGC9Xs"
    );
    // RFC 8037 appendix A.3.
    let ed = r#"{"kty":"OKP","crv":"Ed25519","x":"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"}"#;
    let material = KeyMaterial::import(ed, Algorithm::EdDSA).unwrap();
    assert_eq!(
        material.default_kid().unwrap().as_str(),
        "kPrK_qmxVWaYVA9wwBF6Iuo3vVzz7TxHCTwXBygrS4k"
    );
}

/// Made by PyJWT 2.10.1: no `kid`, no `sub`, no session version, several audiences.
#[test]
fn a_token_of_the_service_keeps_working() {
    const TOKEN: &str = "eyJhbGciOiJIUzI1NiIsInR5cCI6IkpXVCJ9.eyJ1c2VyX2lkIjoidXNlcl8wMUFSWjNOREVLVFNWNFJSRkZRNjlHNUZBViIsImp0aSI6IjExMTExMTExLTIyMjItNDMzMy04NDQ0LTU1NTU1NTU1NTU1NSIsImV4cCI6NDEwMjQ0NDgwMCwiaWF0IjoxNzAwMDAwMDAwLCJpc3MiOiJhcGkucm9ib3N5c3RlbXMuYWkiLCJhdWQiOlsicm9ib3N5c3RlbXMuYWkiLCJyb2JvbGVkZ2VyLmFpIiwicm9ib2ludmVzdG9yLmFpIl19.LtM48bVYMxIq8aZVCvvCmnTo8tD7WQWoSn7w_RaQ3IA";
    let secret = "auth-ext-interop-secret-0123456789abcdef";
    let set = key_set(&KeyMaterial::import(secret, Algorithm::HS256).unwrap());
    let rules = Rules {
        user_claim: jose::ClaimPath::parse("user_id").unwrap(),
        ..Rules::new(
            "api.robosystems.ai".to_owned(),
            vec!["roboledger.ai".to_owned()],
        )
    };
    let now = UnixMicros(1_700_000_000_000_000);
    let token = Token::decode(TOKEN).unwrap();
    assert_eq!(token.issuer().unwrap(), "api.robosystems.ai");
    let verified = set.verify(token, now).unwrap();
    let claims = verified.check(&rules, Purpose::Access, now).unwrap();
    assert_eq!(claims.user.unwrap(), "user_01ARZ3NDEKTSV4RRFFQ69G5FAV");
    assert_eq!(claims.session_version, None);
    assert_eq!(
        claims.token_id.as_deref(),
        Some("11111111-2222-4333-8444-555555555555")
    );
    assert_eq!(claims.device_hash, None);
}
