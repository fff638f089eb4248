//! Input that nobody sends by accident, from a seed.

use jose::{Algorithm, KeyMaterial, SigningKey};

/// The secret of the key `hmac`.
pub const SECRET: &str = "auth-ext-bad-input-secret-0123456789abcdef";

/// Where a value of a claim or header goes bad.
const BAD_VALUES: &[&str] = &[
    "null",
    "true",
    "0",
    "-0",
    "-1",
    "0.0",
    "1e0",
    "1e400",
    "1e131071",
    "1e-16383",
    "1e-17000",
    "1E+2",
    "9223372036854775807",
    "9223372036854775808",
    "253402300799.9999999",
    "253402300800",
    "\"\"",
    "\"0\"",
    "\"\\u0000\"",
    "\"\\ud800\"",
    "\"\\ud83d\\ude00\"",
    "\"\\x\"",
    "\"\u{e9}\u{1f600}\u{feff}\"",
    "\"'; --\"",
    "[]",
    "[null]",
    "{}",
    "{\"a\":1,\"a\":2}",
    "{\"\":{\"\":[]}}",
    "NaN",
    "+1",
    "01",
    ".5",
    "1.",
    "",
    "\"",
    "[",
    "{",
    "//",
    "\"JWT\"",
    "[\"app.test\"]",
];

/// SplitMix64: small, and the same on every machine.
pub struct Random(u64);

impl Random {
    /// `AUTH_EXT_SEED`, or the usual one. Printed, so that a failure can be repeated.
    pub fn from_environment() -> Self {
        let seed = std::env::var("AUTH_EXT_SEED")
            .ok()
            .and_then(|seed| seed.parse().ok())
            .unwrap_or(20_260_101);
        println!("AUTH_EXT_SEED={seed}");
        Self(seed)
    }

    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// A number below `end`.
    pub fn below(&mut self, end: usize) -> usize {
        (self.next() % end as u64) as usize
    }

    /// True once in `n` times.
    pub fn once_in(&mut self, n: usize) -> bool {
        self.below(n) == 0
    }

    /// One of them.
    pub fn pick<'a, T: ?Sized>(&mut self, of: &[&'a T]) -> &'a T {
        of[self.below(of.len())]
    }

    /// Characters of all kinds, but U+0000, which is no text in PostgreSQL.
    pub fn text(&mut self, length: usize) -> String {
        let alphabet = self.below(4);
        (0..length)
            .map(|_| match alphabet {
                0 => char::from(b' ' + (self.next() % 95) as u8),
                1 => char::from(1 + (self.next() % 127) as u8),
                2 => *b"AZaz09-_.=+/{}[]\",:\\"
                    .map(char::from)
                    .get(self.below(20))
                    .unwrap_or(&'A'),
                _ => char::from_u32(1 + (self.next() % 0x1f_ffff) as u32).unwrap_or('\u{fffd}'),
            })
            .collect()
    }

    /// A JSON text, not always a valid one.
    pub fn json(&mut self) -> String {
        match self.below(8) {
            0 => self.nested(),
            1 => "9".repeat(1 + self.below(500)),
            2 => format!("\"{}\"", self.text(12).replace(['"', '\\'], "")),
            3 => format!(
                "{{\"{}\":{},\"alg\":{}}}",
                self.pick(&["keys", "a", "sub", "exp", "user_agent"]),
                self.pick(BAD_VALUES),
                self.pick(BAD_VALUES)
            ),
            4 => format!("{{\"keys\":[{},{}]}}", self.jwk(), self.jwk()),
            5 => self.jwk(),
            _ => self.pick(BAD_VALUES).to_owned(),
        }
    }

    fn nested(&mut self) -> String {
        let levels = [30, 31, 32, 33, 64, 1000, 5000][self.below(7)];
        if self.once_in(2) {
            format!("{}{}", "[".repeat(levels), "]".repeat(levels))
        } else {
            format!("{}1{}", "{\"a\":".repeat(levels), "}".repeat(levels))
        }
    }

    fn jwk(&mut self) -> String {
        let x = [
            "UT1Rj99cNRWyFriOuyUpSuuuvqsk-dDB4MjGkBisbNo",
            "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA",
            "AQAB",
            "",
            "=",
        ];
        let members = [
            ("kty", ["\"OKP\"", "\"EC\"", "\"RSA\"", "\"oct\"", "7"]),
            (
                "crv",
                [
                    "\"Ed25519\"",
                    "\"P-256\"",
                    "\"P-384\"",
                    "\"X25519\"",
                    "null",
                ],
            ),
            (
                "alg",
                ["\"EdDSA\"", "\"ES256\"", "\"RS256\"", "\"none\"", "[]"],
            ),
        ];
        let mut jwk = String::from("{\"kid\":");
        jwk += self.pick(&["\"k\"", "\"\"", "7", "\"hmac\""]);
        for (name, values) in members {
            if !self.once_in(4) {
                jwk += &format!(",\"{name}\":{}", values[self.below(5)]);
            }
        }
        for name in ["x", "y", "n", "e", "d", "k"] {
            if self.once_in(2) {
                jwk += &format!(",\"{name}\":\"{}\"", self.pick(&x));
            }
        }
        jwk + "}"
    }
}

/// Makes tokens that are nearly right.
pub struct Forger {
    key: SigningKey,
    /// One that is right: kid `hmac`, user `alice`, version 0.
    pub good: String,
}

const HEADER: &[(&str, &str)] = &[
    ("alg", "\"HS256\""),
    ("kid", "\"hmac\""),
    ("typ", "\"JWT\""),
];
const PAYLOAD: &[(&str, &str)] = &[
    ("iss", "\"https://issuer.test\""),
    ("aud", "\"app.test\""),
    ("sub", "\"alice\""),
    ("session_version", "0"),
    ("iat", "1700000000"),
    ("nbf", "1700000000"),
    ("exp", "4102444800"),
    ("jti", "\"x\""),
    ("device_hash", "\"x\""),
];

impl Forger {
    pub fn new() -> Self {
        let material =
            KeyMaterial::import(SECRET, Algorithm::HS256).expect("a secret that is long enough");
        let key = material
            .signing_key()
            .expect("a key")
            .expect("a key that signs");
        let mut forger = Self {
            key,
            good: String::new(),
        };
        forger.good = forger.sign(object(HEADER).as_bytes(), object(PAYLOAD).as_bytes());
        forger
    }

    /// A token of these octets, rightly signed.
    pub fn sign(&self, header: &[u8], payload: &[u8]) -> String {
        let input = format!("{}.{}", base64url(header), base64url(payload));
        let signature = self.key.sign(input.as_bytes()).expect("a signature");
        format!("{input}.{}", base64url(&signature))
    }

    /// A token that is rightly signed, though what it says is wrong somewhere.
    pub fn strange(&self, random: &mut Random) -> String {
        let mut sides = [(HEADER, String::new()), (PAYLOAD, String::new())];
        let bad = random.below(2);
        for (side, (members, text)) in sides.iter_mut().enumerate() {
            let mut members = members.to_vec();
            let value = random.json();
            if side == bad {
                let at = random.below(members.len());
                match random.below(4) {
                    0 => drop(members.remove(at)),
                    1 => members.push((members[at].0, members[at].1)),
                    _ => members[at].1 = &value,
                }
            }
            *text = object(&members);
        }
        let mut octets = [
            sides[0].1.clone().into_bytes(),
            sides[1].1.clone().into_bytes(),
        ];
        if random.once_in(5) {
            let at = random.below(octets[bad].len());
            octets[bad][at] = random.below(256) as u8;
        }
        self.sign(&octets[0], &octets[1])
    }

    /// The good token with its text changed, and so no longer rightly signed.
    pub fn mutated(&self, random: &mut Random) -> String {
        let mut octets = self.good.clone().into_bytes();
        for _ in 0..=random.below(3) {
            let at = random.below(octets.len());
            match random.below(if octets.len() > 1 { 5 } else { 1 }) {
                0 => octets[at] = b' ' + (random.below(95) as u8),
                1 => drop(octets.remove(at)),
                2 => octets.insert(at, *random.pick(&[&b'.', &b'=', &b'A', &b' ', &b'\n'])),
                3 => octets.truncate(at + 1),
                _ => octets.extend_from_within(at..),
            }
        }
        String::from_utf8(octets).expect("still ASCII")
    }
}

fn object(members: &[(&str, &str)]) -> String {
    let members: Vec<_> = members
        .iter()
        .map(|(name, value)| format!("\"{name}\":{value}"))
        .collect();
    format!("{{{}}}", members.join(","))
}

fn base64url(octets: &[u8]) -> String {
    const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    let mut text = String::new();
    for chunk in octets.chunks(3) {
        let bits = chunk
            .iter()
            .fold(0u32, |bits, octet| bits << 8 | u32::from(*octet))
            << (8 * (3 - chunk.len()));
        for i in 0..=chunk.len() {
            text.push(char::from(ALPHABET[(bits >> (18 - 6 * i)) as usize & 63]));
        }
    }
    text
}
