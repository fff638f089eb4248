//! Making a token: the compact serialization (RFC 7515 section 7.1).

use crate::json::{Object, quote};
use crate::key::{KeyError, SigningKey};
use crate::{Kid, base64url};

/// Signs `payload_json` with `key`; the header is `alg`, `kid` when given, and `typ` unless it is empty.
///
/// # Errors
/// [`KeyError::UnsignableToken`] when [`Token::decode`](crate::Token::decode) would refuse the
/// result: U+0000 in `typ`, or a payload that is no strict JSON object. [`KeyError::Crypto`] when signing fails.
pub fn sign_compact(
    key: &SigningKey,
    kid: Option<&Kid>,
    typ: &str,
    payload_json: &str,
) -> Result<String, KeyError> {
    let header = header(key, kid, typ).ok_or(KeyError::UnsignableToken)?;
    let payload = Object::parse(payload_json).ok_or(KeyError::UnsignableToken)?;
    let mut token = format!(
        "{}.{}",
        base64url::encode(header),
        base64url::encode(payload.text())
    );
    let signature = key.sign(token.as_bytes())?;
    token.push('.');
    token.push_str(&base64url::encode(signature));
    Ok(token)
}

fn header(key: &SigningKey, kid: Option<&Kid>, typ: &str) -> Option<String> {
    if typ.contains('\0') {
        return None;
    }
    let kid = kid.map_or_else(String::new, |kid| {
        format!(r#","kid":{}"#, quote(kid.as_str()))
    });
    let typ = if typ.is_empty() {
        String::new()
    } else {
        format!(r#","typ":{}"#, quote(typ))
    };
    Some(format!(r#"{{"alg":"{}"{kid}{typ}}}"#, key.algorithm()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Algorithm, KeyMaterial, Token};

    #[test]
    fn what_is_signed_can_be_decoded() {
        let material = KeyMaterial::generate(Algorithm::HS256).unwrap();
        let key = material.signing_key().unwrap().unwrap();
        let text = sign_compact(&key, Kid::new("a\"b").as_ref(), "at+jwt", "{ \"a\": 1 }").unwrap();
        let token = Token::decode(&text).unwrap();
        assert_eq!(
            token.header_json(),
            r#"{"alg":"HS256","kid":"a\"b","typ":"at+jwt"}"#
        );
        assert_eq!(token.payload_json(), "{ \"a\": 1 }");
        assert_eq!(token.kid().map(Kid::as_str), Some("a\"b"));
    }

    #[test]
    fn what_could_not_be_decoded_is_not_signed() {
        let material = KeyMaterial::generate(Algorithm::HS256).unwrap();
        let key = material.signing_key().unwrap().unwrap();
        for (typ, payload) in [("\0", "{}"), ("JWT", "[]"), ("JWT", r#"{"a":1,"a":2}"#)] {
            let refused = sign_compact(&key, None, typ, payload);
            assert_eq!(refused.err(), Some(KeyError::UnsignableToken));
        }
    }
}
