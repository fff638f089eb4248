//! Octets as PostgreSQL and others print them, for tests that look for what must not be printed.

/// Parts of a secret that nothing else has: of a token not its header, of an API key not what its row has in the open, of an
/// elliptic key in PKCS#8 not the public point behind the private octets.
#[must_use]
pub fn secret_parts(secret: &[u8]) -> Vec<&[u8]> {
    const LENGTH: usize = 15;
    let is_der = secret.starts_with(&[0x30]) && secret.iter().any(|b| !b.is_ascii());
    let from = match secret.len() {
        length @ ..250 if is_der => vec![length / 3],
        length => vec![length / 3, length / 2, length - LENGTH],
    };
    from.into_iter()
        .filter_map(|from| secret.get(from..from + LENGTH))
        .collect()
}

/// Every way in which 15 octets may be printed.
#[must_use]
pub fn spellings(octets: &[u8]) -> Vec<String> {
    let join = |each: &dyn Fn(&u8) -> String, between: &str| {
        octets.iter().map(each).collect::<Vec<_>>().join(between)
    };
    let mut spellings = vec![
        join(&|b| format!("{b:02x}"), ""),
        join(&|b| format!("{b:02X}"), ""),
        // A Const in a printed plan.
        join(&|b| b.cast_signed().to_string(), " "),
        join(&u8::to_string, " "),
        join(&u8::to_string, ", "),
        join(&|b| format!("\\{b:03o}"), ""),
        join(&|b| format!("\\\\{b:03o}"), ""),
        join(
            &|b| match b {
                b'\\' => "\\\\".to_owned(),
                32..=126 => char::from(*b).to_string(),
                _ => format!("\\{b:03o}"),
            },
            "",
        ),
        // encode(…, 'escape')
        join(
            &|b| match b {
                b'\\' => "\\\\".to_owned(),
                1..=127 => char::from(*b).to_string(),
                _ => format!("\\{b:03o}"),
            },
            "",
        ),
    ];
    if let Ok(text) = str::from_utf8(octets) {
        spellings.push(text.to_owned());
    }
    // Wherever the octets stand in what was encoded: whole groups of three at each offset.
    for offset in 0..3 {
        let group = octets.get(offset..offset + 12).expect("15 octets");
        for url in [false, true] {
            spellings.push(base64(group, url));
        }
    }
    spellings
}

/// Whole groups of three octets in base64, or base64url.
#[must_use]
pub fn base64(octets: &[u8], url: bool) -> String {
    let digit = |n: u32| match n & 63 {
        n @ 0..26 => b'A' + u8::try_from(n).expect("6 bits"),
        n @ 26..52 => b'a' + u8::try_from(n - 26).expect("6 bits"),
        n @ 52..62 => b'0' + u8::try_from(n - 52).expect("6 bits"),
        62 => {
            if url {
                b'-'
            } else {
                b'+'
            }
        }
        _ => {
            if url {
                b'_'
            } else {
                b'/'
            }
        }
    };
    let groups = octets.chunks_exact(3).flat_map(|group| {
        let bits = group.iter().fold(0, |bits, b| bits << 8 | u32::from(*b));
        [18, 12, 6, 0].map(|shift| char::from(digit(bits >> shift)))
    });
    groups.collect()
}
