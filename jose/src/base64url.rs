//! Base64url as JOSE uses it: no padding, one spelling per octet string (RFC 7515 section 2).

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

/// The octets, or `None` for padding, white space, foreign characters, an impossible length, or
/// non-zero unused bits (RFC 4648 section 3.5): a signature must have one spelling only.
pub(crate) fn decode(text: &str) -> Option<Vec<u8>> {
    URL_SAFE_NO_PAD.decode(text).ok()
}

/// As [`decode`], of text that may be padded to a multiple of four characters.
pub(crate) fn decode_padded(text: &str) -> Option<Vec<u8>> {
    let bare = text.trim_end_matches('=');
    let padding = text.len().saturating_sub(bare.len());
    let is_right = padding == 0 || (padding <= 2 && text.len().is_multiple_of(4));
    if is_right { decode(bare) } else { None }
}

/// The one spelling of `octets`.
pub(crate) fn encode(octets: impl AsRef<[u8]>) -> String {
    URL_SAFE_NO_PAD.encode(octets)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_canonical_spelling_decodes() {
        assert_eq!(decode("Zm9v"), Some(b"foo".to_vec()));
        assert_eq!(decode("Zg"), Some(b"f".to_vec()));
        assert_eq!(decode("-_8"), Some(vec![0xfb, 0xff]));
        for wrong in [
            "Zg==", "Zh", "Z", "Zm9v ", " Zm9v", "Zm\n9v", "+/8", "Zm9v=", "Zm9?",
        ] {
            assert_eq!(decode(wrong), None, "{wrong:?}");
        }
    }

    #[test]
    fn padding_is_read_where_it_is_allowed_and_right() {
        for right in ["Zg", "Zg==", "Zm8=", "Zm9v", ""] {
            assert!(decode_padded(right).is_some(), "{right:?}");
        }
        for wrong in ["Zg=", "Zg===", "Zm9v=", "Zm9v====", "=", "Zh==", "Z==="] {
            assert_eq!(decode_padded(wrong), None, "{wrong:?}");
        }
    }
}
