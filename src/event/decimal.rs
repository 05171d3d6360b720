//! The value of a JSON number, read from its text: `5`, `5.0` and `50e-1` have one value, whatever their size.
//!
//! A double does not hold every JSON number, and this module never goes through one. The daemon delivers a number as its
//! publisher wrote it, so filters and subjects compare the written values too.

use std::fmt::Write;

/// The exponent at which exponents are capped: no event is long enough to write such a number out.
const MAX_EXPONENT: i128 = 10_i128.pow(36);

/// A number as `±digits × 10^exponent`. Each value has one form, because `digits` has no zeros at either end.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Decimal {
    negative: bool,
    /// Empty for zero.
    digits: String,
    exponent: i128,
}

impl Decimal {
    /// Reads a number. `text` must be a number of JSON's grammar (RFC 8259, section 6).
    pub fn parse(text: &str) -> Self {
        let (negative, rest) = text.strip_prefix('-').map_or((false, text), |rest| (true, rest));
        let (mantissa, exponent) = rest.split_once(['e', 'E']).unwrap_or((rest, "0"));
        let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
        let written = [whole, fraction].concat();
        let kept = written.trim_end_matches('0');
        let digits = kept.trim_start_matches('0').to_owned();
        if digits.is_empty() {
            return Self { negative: false, digits, exponent: 0 };
        }
        let (down, size) = match exponent.strip_prefix('-') {
            Some(size) => (true, size),
            None => (false, exponent.strip_prefix('+').unwrap_or(exponent)),
        };
        let size = size.parse().unwrap_or(MAX_EXPONENT).min(MAX_EXPONENT);
        let shift = (written.len() - kept.len()) as i128 - fraction.len() as i128;
        Self { negative, digits, exponent: shift + if down { -size } else { size } }
    }

    /// Whether the number has no fraction.
    pub fn is_integer(&self) -> bool {
        self.exponent >= 0
    }

    /// The number as an integer of 64 bits, if it is one.
    pub fn to_i64(&self) -> Option<i64> {
        // 19 digits are enough for every i64.
        let zeros = usize::try_from(self.exponent).ok().filter(|zeros| self.digits.len() + zeros <= 19)?;
        if self.digits.is_empty() {
            return Some(0);
        }
        let sign = if self.negative { "-" } else { "" };
        [sign, &self.digits, &"0".repeat(zeros)].concat().parse().ok()
    }

    /// A text that is equal for equal numbers, and for no others: `15e-1`.
    pub fn canonical(&self) -> String {
        let mut text = String::with_capacity(self.digits.len() + 8);
        text.push_str(if self.negative { "-" } else { "" });
        text.push_str(if self.digits.is_empty() { "0" } else { &self.digits });
        if self.exponent != 0 {
            // Writing into a String cannot fail.
            let _ = write!(text, "e{}", self.exponent);
        }
        text
    }

    /// The number without an exponent, such as `-1.5` or `100000`; `None` if that has more than `max` characters.
    pub fn plain(&self, max: usize) -> Option<String> {
        if self.digits.is_empty() {
            return Some("0".into());
        }
        let places = usize::try_from(self.exponent.unsigned_abs()).ok().filter(|places| *places <= max)?;
        let sign = if self.negative { "-" } else { "" };
        let text = if self.exponent >= 0 {
            [sign, &self.digits, &"0".repeat(places)].concat()
        } else if places < self.digits.len() {
            let (whole, fraction) = self.digits.split_at(self.digits.len() - places);
            [sign, whole, ".", fraction].concat()
        } else {
            [sign, "0.", &"0".repeat(places - self.digits.len()), &self.digits].concat()
        };
        (text.len() <= max).then_some(text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_has_one_canonical_and_one_plain_form() {
        for (texts, canonical, plain) in [
            (&["0", "-0", "0.0", "0e9", "-0.00E-7"][..], "0", "0"),
            (&["5", "5.0", "50e-1", "0.5E1", "0.05e+2"], "5", "5"),
            (&["-1.5", "-1.50", "-15e-1", "-0.0015e3"], "-15e-1", "-1.5"),
            (&["100000", "1E5", "1e+5", "1e0005", "10.0e4"], "1e5", "100000"),
            (&["18446744073709551616", "1.8446744073709551616e19"], "18446744073709551616", "18446744073709551616"),
            (&["0.001", "1e-3", "0.1e-2"], "1e-3", "0.001"),
        ] {
            for text in texts {
                let number = Decimal::parse(text);
                assert_eq!(number.canonical(), canonical, "{text}");
                assert_eq!(number.plain(50).as_deref(), Some(plain), "{text}");
                assert_eq!(Decimal::parse(plain), number, "{text}");
            }
        }
    }

    #[test]
    fn integers_of_64_bits_are_found_in_every_form() {
        for (text, integer) in [
            ("9223372036854775807", Some(i64::MAX)),
            ("-9223372036854775808", Some(i64::MIN)),
            ("-9223372036854775808.000", Some(i64::MIN)),
            ("9223372036854775808", None),
            ("1e18", Some(1_000_000_000_000_000_000)),
            ("1e19", None),
            ("1.5", None),
            ("-0.0", Some(0)),
            ("1e-400", None),
        ] {
            assert_eq!(Decimal::parse(text).to_i64(), integer, "{text}");
        }
        assert!(Decimal::parse("1.50e1").is_integer() && !Decimal::parse("1.55e1").is_integer());
    }

    #[test]
    fn numbers_of_any_size_are_read() {
        let long = "7".repeat(400);
        assert_eq!(Decimal::parse(&long).plain(1_000), Some(long));
        assert_eq!(Decimal::parse("1e400").plain(1_000).map(|text| text.len()), Some(401));
        assert_eq!(Decimal::parse("1e-400").plain(1_000).map(|text| text.len()), Some(402));
        for huge in ["1e99999999999999999999999999999999999999999999", "1e-99999999999999999999", "-1e2000"] {
            assert_eq!(Decimal::parse(huge).plain(1_000), None, "{huge}");
            assert_eq!(Decimal::parse(huge).to_i64(), None, "{huge}");
        }
    }
}
