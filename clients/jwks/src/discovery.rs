//! The discovery document of an issuer (OpenID Connect Discovery 1.0, section 3).

use serde::Deserialize;

use crate::failure::Failure;

/// Members that are there twice are refused, others are not looked at.
#[derive(Deserialize)]
struct Document {
    issuer: String,
    jwks_uri: String,
}

/// Where the document says that the key set is. It must be this issuer's, letter by letter (section 4.3).
pub fn jwks_uri(document: &str, issuer: &str) -> Result<String, Failure> {
    let read: Document = serde_json::from_str(document)
        .map_err(|_| Failure::new("the discovery document is none"))?;
    if read.issuer != issuer {
        return Err(Failure::new(
            "the discovery document is of another issuer (each letter counts, a slash at the end too)",
        ));
    }
    Ok(read.jwks_uri)
}

#[cfg(test)]
mod tests {
    use super::*;

    const ISSUER: &str = "https://idp.example/";

    #[test]
    fn the_document_of_the_issuer_names_the_url() {
        let document = r#"{"issuer":"https://idp.example/","jwks_uri":"https://keys.example/","scopes_supported":["openid"]}"#;
        let found = jwks_uri(document, ISSUER);
        assert_eq!(found, Ok("https://keys.example/".to_owned()));
    }

    #[test]
    fn any_other_document_is_refused() {
        for document in [
            r#"{"issuer":"https://idp.example","jwks_uri":"https://keys.example/"}"#,
            r#"{"issuer":"https://IDP.example/","jwks_uri":"https://keys.example/"}"#,
            r#"{"issuer":"https://evil.example/","issuer":"https://idp.example/","jwks_uri":"https://keys.example/"}"#,
            r#"{"issuer":["https://idp.example/"],"jwks_uri":"https://keys.example/"}"#,
            r#"{"issuer":"https://idp.example/","jwks_uri":null}"#,
            r#"{"issuer":"https://idp.example/"}"#,
            r#"{"jwks_uri":"https://keys.example/"}"#,
            r#"{"issuer":"https://idp.example/","jwks_uri":"https://keys.example/"} x"#,
            "[]",
            "<html>",
            "",
        ] {
            assert!(jwks_uri(document, ISSUER).is_err(), "{document}");
        }
    }
}
