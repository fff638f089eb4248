//! Telling keys from secrets.
//!
//! Who imports an RSA or EC *public* key as an HMAC secret lets everyone who knows that key sign
//! tokens (RFC 8725 section 2.1). So a text that is a key in any usual form is no secret.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use zeroize::Zeroizing;

/// Whether `text` is, or holds, an asymmetric key: PEM or SSH2 armour, an OpenSSH public key, or
/// the base64 body of a PEM without its armour (as some providers show their public key).
pub(super) fn is_key(text: &str) -> bool {
    const ARMOUR: [&str; 2] = ["-----BEGIN", "---- BEGIN"];
    const OPENSSH: [&str; 4] = ["ssh-", "ecdsa-sha2-", "sk-ssh-", "sk-ecdsa-"];
    let start = text.trim_start();
    ARMOUR.iter().any(|armour| text.contains(armour))
        || OPENSSH.iter().any(|name| start.starts_with(name))
        || is_base64_der(text)
}

/// Whether `text` is base64 of exactly one DER SEQUENCE that begins with a SEQUENCE or an INTEGER,
/// as every key structure does. A random secret does so once in ten million times.
fn is_base64_der(text: &str) -> bool {
    let bare: Zeroizing<String> = Zeroizing::new(text.split_ascii_whitespace().collect());
    let Ok(der) = STANDARD.decode(bare.as_bytes()).map(Zeroizing::new) else {
        return false;
    };
    let Some((0x30, rest)) = der.split_first() else {
        return false;
    };
    let content = match rest.split_first() {
        Some((0x81, rest)) => rest.split_at_checked(1),
        Some((0x82, rest)) => rest.split_at_checked(2),
        _ => rest.split_at_checked(1),
    };
    content.is_some_and(|(length, content)| {
        let stated = length.iter().fold(0, |sum, b| sum * 256 + usize::from(*b));
        stated == content.len() && matches!(content.first(), Some(0x30 | 0x02))
    })
}

#[cfg(test)]
mod tests {
    use super::is_key;

    #[test]
    fn a_key_in_any_usual_form_is_no_secret() {
        for key in [
            "-----BEGIN PUBLIC KEY-----\nMFkw",
            "x-----BEGIN CERTIFICATE-----",
            "---- BEGIN SSH2 PUBLIC KEY ----",
            " \n ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIPL1I9oiq+B8crkmuV4YViiUnhdLjCp3hvy1bNGuGfNL",
            "ecdsa-sha2-nistp256 AAAA",
            "sk-ssh-ed25519@openssh.com AAAA",
            "MCowBQYDK2VwAyEAGb9ECWmEzf6FQbrBZ9w7lshQhqowtrbLDFw4rXAxZuE=",
            "MCowBQYDK2VwAyEAGb9ECWmEzf6F\nQbrBZ9w7lshQhqowtrbLDFw4rXAxZuE=\n",
        ] {
            assert!(is_key(key), "{key}");
        }
    }

    #[test]
    fn a_secret_is_no_key() {
        for secret in [
            "auth-ext-interop-secret-0123456789abcdef",
            "sk-live-0123456789abcdef0123456789abcdef",
            "MIIBsomethingthatisnotdermaybe0123456789",
            "MCowBQYDK2VwAyEAGb9ECWmEzf6FQbrBZ9w7lshQhqowtrbLDFw4rXAx",
            "reallyreallyreallyreallyverysafe",
            "",
        ] {
            assert!(!is_key(secret), "{secret}");
        }
    }
}
