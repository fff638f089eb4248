//! Which URLs may be asked.

use reqwest::Url;
use reqwest::redirect::{Action, Attempt};

use crate::failure::Failure;

const LONGEST: usize = 2048;
const REDIRECTS: usize = 3;

/// The URL of a row, or of a discovery document that came `from` there.
///
/// It is `https`; with `allow_http` also `http` of this machine's own addresses, but never where what names it came by `https`.
pub fn address(text: &str, from: Option<&Url>, allow_http: bool) -> Result<Url, Failure> {
    let no = |why: &str| Err(Failure::new(format!("the URL of the key set {why}")));
    if text.len() > LONGEST {
        return no("is too long");
    }
    let Ok(url) = Url::parse(text) else {
        return no("is none");
    };
    if !url.username().is_empty() || url.password().is_some() {
        return no("has a user in it");
    }
    if url.fragment().is_some() {
        return no("has a fragment");
    }
    let is_downgrade = from.is_some_and(|from| from.scheme() == "https");
    match url.scheme() {
        "https" => Ok(url),
        "http" if !is_loopback(&url) || is_downgrade => no("is not https"),
        "http" if !allow_http => no("is http: see --allow-http"),
        "http" => Ok(url),
        _ => no("is not https"),
    }
}

fn is_loopback(url: &Url) -> bool {
    let host = url.host_str().unwrap_or_default();
    host == "localhost" || {
        let address = host.trim_start_matches('[').trim_end_matches(']');
        address
            .parse::<std::net::IpAddr>()
            .is_ok_and(|address| address.is_loopback())
    }
}

/// Where the discovery document of an issuer is, if that is what its `jwks_uri` asks for: where it is the issuer's own URL
/// (OpenID Connect Discovery 1.0, section 4).
pub fn discovery(issuer: &str, jwks_uri: &str) -> Option<String> {
    let issuer = issuer.strip_suffix('/').unwrap_or(issuer);
    let uri = jwks_uri.strip_suffix('/').unwrap_or(jwks_uri);
    (issuer == uri && !uri.contains('?')).then(|| format!("{uri}/.well-known/openid-configuration"))
}

/// Follows a redirect within the same scheme, host and port, a few times.
pub fn redirect(attempt: Attempt<'_>) -> Action {
    let first = attempt.previous().first().map(Url::origin);
    let is_elsewhere = first != Some(attempt.url().origin());
    let is_last = attempt.previous().len() > REDIRECTS;
    if is_elsewhere {
        attempt.error(Failure::new(
            "the server redirects to another host, which is not followed",
        ))
    } else if is_last {
        attempt.error(Failure::new("the server redirects again and again"))
    } else {
        attempt.follow()
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    fn is_allowed(text: &str, allow_http: bool) -> bool {
        address(text, None, allow_http).is_ok()
    }

    #[test]
    fn only_https_is_asked_and_http_of_this_machine_when_told() {
        assert!(is_allowed("https://idp.example/keys?p=1", false));
        for own in [
            "http://localhost:8080/keys",
            "http://127.0.0.1/keys",
            "http://127.9.9.9/keys",
            "http://[::1]:8080/keys",
        ] {
            assert!(!is_allowed(own, false), "{own}");
            assert!(is_allowed(own, true), "{own}");
        }
    }

    #[test]
    fn what_is_elsewhere_or_names_a_user_is_never_asked() {
        for wrong in [
            "http://idp.example/keys",
            "http://localhost.evil.example/keys",
            "http://127.0.0.1.evil.example/keys",
            "http://localhost@evil.example/keys",
            "http://10.0.0.1/keys",
            "http://169.254.169.254/keys",
            "http://[::ffff:10.0.0.1]/keys",
            "https://user@idp.example/keys",
            "https://user:secret@idp.example/keys",
            "https://:secret@idp.example/keys",
            "https://idp.example/keys#fragment",
            "file:///etc/passwd",
            "ftp://127.0.0.1/keys",
            "data:application/json,{}",
            "https://",
            "/keys",
            "",
        ] {
            assert!(!is_allowed(wrong, true), "{wrong}");
        }
        assert!(!is_allowed(
            &format!("https://idp.example/{}", "x".repeat(LONGEST)),
            true
        ));
    }

    #[test]
    fn what_came_by_https_leads_to_no_http() {
        let secure = Url::parse("https://idp.example/").unwrap();
        let plain = Url::parse("http://localhost/").unwrap();
        let keys = "http://localhost/keys";
        assert!(address(keys, Some(&secure), true).is_err());
        assert!(address(keys, Some(&plain), true).is_ok());
        assert!(address("https://other.example/keys", Some(&secure), false).is_ok());
    }

    #[test]
    fn nothing_of_a_url_is_told() {
        for url in ["https://user:secret@idp.example", "secret", "http://secret"] {
            let said = address(url, None, false).unwrap_err().to_string();
            assert!(!said.contains("secret"), "{said}");
        }
    }

    #[test]
    fn an_issuers_own_url_asks_for_discovery() {
        let found = Some("https://idp.example/.well-known/openid-configuration".to_owned());
        for (issuer, uri) in [
            ("https://idp.example", "https://idp.example"),
            ("https://idp.example/", "https://idp.example/"),
            ("https://idp.example/", "https://idp.example"),
        ] {
            assert_eq!(discovery(issuer, uri), found);
        }
        let realm = "https://idp.example/realms/x";
        assert_eq!(
            discovery(realm, realm).unwrap(),
            "https://idp.example/realms/x/.well-known/openid-configuration"
        );
        for (issuer, uri) in [
            ("https://idp.example", "https://idp.example/keys"),
            ("https://idp.example", "https://other.example"),
            ("https://idp.example/{tid}", "https://idp.example/keys"),
            ("https://idp.example?a", "https://idp.example?a"),
            ("", "https://idp.example"),
        ] {
            assert_eq!(discovery(issuer, uri), None);
        }
    }
}
