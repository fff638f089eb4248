//! Points in time, and JWT's way to write them.

use crate::json::Decimal;

/// Microseconds since 1970-01-01 00:00:00 UTC, leap seconds not counted (as in Unix and Postgres).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct UnixMicros(pub i64);

/// 10000-01-01 00:00:00 UTC: the first moment a NumericDate may not name.
const YEAR_10000: i64 = 253_402_300_800_000_000;

impl UnixMicros {
    /// Reads a NumericDate (RFC 7519 section 2): a JSON number of seconds, fractions allowed, from
    /// 0 to the end of year 9999. Parts of a microsecond are cut off. `None` outside that range.
    ///
    /// Exact: an `f64` could not tell neighbouring microseconds apart after the year 2100 or so.
    pub(crate) fn from_numeric_date(number: Decimal<'_>) -> Option<Self> {
        let micros = number.floor_scaled_by_power_of_ten(6)?;
        (micros < YEAR_10000).then_some(Self(micros))
    }

    /// Reads a NumericDate from the text of a JSON value; `None` for any other value.
    #[must_use]
    pub fn parse_numeric_date(json: &str) -> Option<Self> {
        Self::from_numeric_date(Decimal::parse(json)?)
    }

    /// The whole second that it is in, as a NumericDate (RFC 7519 section 2) without a fraction.
    #[must_use]
    pub const fn second(self) -> i64 {
        self.0.div_euclid(1_000_000)
    }

    /// This moment `micros` later, or the last one representable.
    pub(crate) const fn plus(self, micros: i64) -> Self {
        Self(self.0.saturating_add(micros))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Option<i64> {
        UnixMicros::from_numeric_date(Decimal::parse(text)?).map(|t| t.0)
    }

    #[test]
    fn a_numeric_date_is_read_to_the_microsecond() {
        assert_eq!(read("0"), Some(0));
        assert_eq!(read("-0"), Some(0));
        assert_eq!(read("-0.0e5"), Some(0));
        assert_eq!(read("1700000000"), Some(1_700_000_000_000_000));
        assert_eq!(read("1700000000.000001"), Some(1_700_000_000_000_001));
        assert_eq!(read("1700000000.9999999"), Some(1_700_000_000_999_999));
        assert_eq!(read("1.7e9"), Some(1_700_000_000_000_000));
        assert_eq!(read("17E+8"), Some(1_700_000_000_000_000));
        assert_eq!(read("0.0000001"), Some(0));
        assert_eq!(read("1e-400"), Some(0));
    }

    #[test]
    fn a_numeric_date_ends_with_year_9999() {
        assert_eq!(read("253402300799.999999"), Some(YEAR_10000 - 1));
        assert_eq!(read("253402300799.9999999"), Some(YEAR_10000 - 1));
        for outside in [
            "253402300800",
            "1e400",
            "-1",
            "-0.0000001",
            "9223372036854775807",
        ] {
            assert_eq!(read(outside), None, "{outside}");
        }
    }
}
