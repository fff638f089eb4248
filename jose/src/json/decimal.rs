//! A JSON number as its digits, so that nothing is rounded.

/// What Postgres' `numeric` (and so `jsonb`) holds: digits before the point, and after it.
const MAX_WHOLE_DIGITS: i64 = 131_072;
const MAX_FRACTION_DIGITS: i64 = 16_383;
/// `set_var_from_str` (numeric.c) refuses exponents from `INT_MAX / 2` on, even of zero.
const EXPONENT_LIMIT: u64 = 1_073_741_823;

/// A JSON number (RFC 8259 section 6), taken apart.
#[derive(Clone, Copy)]
pub(crate) struct Decimal<'a> {
    negative: bool,
    whole: &'a str,
    fraction: &'a str,
    exponent: i64,
}

impl<'a> Decimal<'a> {
    /// Takes `text` apart. `None` when it is no number, or its exponent is beyond Postgres' reach.
    pub(crate) fn parse(text: &'a str) -> Option<Self> {
        let (negative, text) = match text.strip_prefix('-') {
            Some(rest) => (true, rest),
            None => (false, text),
        };
        let (mantissa, exponent) = match text.split_once(['e', 'E']) {
            Some((mantissa, exponent)) => (mantissa, parse_exponent(exponent)?),
            None => (text, 0),
        };
        let (whole, fraction) = match mantissa.split_once('.') {
            Some((whole, fraction)) if is_digits(fraction) => (whole, fraction),
            Some(_) => return None,
            None => (mantissa, ""),
        };
        is_digits(whole).then_some(Self {
            negative,
            whole,
            fraction,
            exponent,
        })
    }

    /// Whether `numeric_in` accepts it: at most 131072 digits before the decimal point and 16383
    /// after it, the exponent applied. Trailing zeros count (they are numeric's display scale).
    pub(crate) fn fits_numeric(self) -> bool {
        let whole_digits = match self.digits().position(|digit| digit != b'0') {
            Some(zeros) => self.point().saturating_sub(length(zeros)),
            None => 0,
        };
        let fraction_digits = length(self.fraction.len()).saturating_sub(self.exponent);
        whole_digits <= MAX_WHOLE_DIGITS && fraction_digits <= MAX_FRACTION_DIGITS
    }

    /// ⌊value × 10^`power`⌋. `None` when the value is negative or the result exceeds `i64`.
    pub(crate) fn floor_scaled_by_power_of_ten(self, power: i64) -> Option<i64> {
        if self.digits().all(|digit| digit == b'0') {
            return Some(0);
        }
        if self.negative {
            return None;
        }
        // Ends after at most 20 steps past the first non-zero digit: the multiplication overflows.
        let mut wanted = self.point().saturating_add(power);
        let mut digits = self.digits();
        let mut result: i64 = 0;
        while wanted > 0 {
            let digit = digits.next().unwrap_or(b'0').checked_sub(b'0')?;
            result = result.checked_mul(10)?.checked_add(i64::from(digit))?;
            wanted -= 1;
        }
        Some(result)
    }

    /// Whether the two are the same number, however it is written.
    pub(crate) fn equals(self, other: Self) -> bool {
        let (mut a, mut b) = (self.significant(), other.significant());
        match (self.leading_zeros(), other.leading_zeros()) {
            (None, None) => true,
            (Some(x), Some(y)) => {
                self.negative == other.negative
                    && self.point().saturating_sub(x) == other.point().saturating_sub(y)
                    && loop {
                        match (a.next(), b.next()) {
                            (None, None) => break true,
                            (x, y) if x.unwrap_or(b'0') != y.unwrap_or(b'0') => break false,
                            _ => {}
                        }
                    }
            }
            _ => false,
        }
    }

    /// The digits from the first that is not 0 on.
    fn significant(self) -> impl Iterator<Item = u8> + 'a {
        self.digits().skip_while(|digit| *digit == b'0')
    }

    /// How many zeros stand before that digit; `None` for 0.
    fn leading_zeros(self) -> Option<i64> {
        self.digits().position(|digit| digit != b'0').map(length)
    }

    fn digits(self) -> impl Iterator<Item = u8> + 'a {
        self.whole.bytes().chain(self.fraction.bytes())
    }

    /// How many of [`Self::digits`] stand before the decimal point.
    fn point(self) -> i64 {
        length(self.whole.len()).saturating_add(self.exponent)
    }
}

fn parse_exponent(text: &str) -> Option<i64> {
    let (negative, digits) = match text.strip_prefix('-') {
        Some(digits) => (true, digits),
        None => (false, text.strip_prefix('+').unwrap_or(text)),
    };
    // Leading zeros are allowed; more digits than fit a u64 are out of range anyway.
    let magnitude = if is_digits(digits) {
        digits.parse::<u64>().ok().filter(|m| *m < EXPONENT_LIMIT)?
    } else {
        return None;
    };
    let magnitude = i64::try_from(magnitude).ok()?;
    Some(if negative { -magnitude } else { magnitude })
}

fn is_digits(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit())
}

fn length(count: usize) -> i64 {
    i64::try_from(count).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fits(text: &str) -> bool {
        Decimal::parse(text).is_some_and(Decimal::fits_numeric)
    }

    #[test]
    fn a_number_fits_up_to_numerics_limits_and_not_beyond() {
        for within in [
            "0",
            "-12.50",
            "1e400",
            "1e131071",
            "9.9e131071",
            "0.001e131074",
            "0e200000",
            "1e-16383",
            "1.50E+1",
        ] {
            assert!(fits(within), "{within}");
        }
        for beyond in [
            "1e131072",
            "10e131071",
            "0.01e131074",
            "1e200000",
            "1e-16384",
            "1.0e-16383",
            "0e-16384",
            "1e99999999999999999999",
            "0e1073741823",
        ] {
            assert!(!fits(beyond), "{beyond}");
        }
        assert!(fits(&"9".repeat(131_072)));
        assert!(!fits(&"9".repeat(131_073)));
        assert!(fits(&format!("0.{}", "0".repeat(16_383))));
        assert!(!fits(&format!("0.{}", "0".repeat(16_384))));
        assert!(fits(&format!("1e{}5", "0".repeat(1000))));
    }

    #[test]
    fn what_is_no_number_is_none() {
        for text in [
            "", "-", "1.", ".5", "1e", "1e+", "1-2", "1e5e5", "+1", "1.5.2",
        ] {
            assert!(Decimal::parse(text).is_none(), "{text}");
        }
    }

    #[test]
    fn scaling_cuts_and_refuses_what_overflows() {
        let scaled =
            |text| Decimal::parse(text).and_then(|d: Decimal| d.floor_scaled_by_power_of_ten(6));
        assert_eq!(scaled("9223372036854.775807"), Some(i64::MAX));
        assert_eq!(scaled("9223372036854.775808"), None);
        assert_eq!(scaled("1e1000000000"), None);
        assert_eq!(scaled("0e1000000000"), Some(0));
        assert_eq!(scaled("0.0000019"), Some(1));
    }
}
