//! When a certificate ends, and how near that is.

use std::time::Duration;

use jiff::Timestamp;
use x509_cert::Certificate;
use x509_cert::der::Decode;

/// A certificate that ends sooner is worth a word: those that renew themselves do it a month before.
const SOON: Duration = Duration::from_secs(14 * 24 * 60 * 60);

/// How much time a certificate has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Remaining {
    Enough,
    /// It ends within 14 days.
    Soon,
    /// It has ended.
    Nothing,
}

impl Remaining {
    /// What is left at `now` of a certificate that ends at `end`.
    pub fn at(now: Timestamp, end: Timestamp) -> Self {
        match Duration::try_from(end.duration_since(now)) {
            Ok(left) if left >= SOON => Self::Enough,
            Ok(left) if !left.is_zero() => Self::Soon,
            _ => Self::Nothing,
        }
    }
}

/// When a certificate in DER form ends (RFC 5280, section 4.1.2.5). `None` if that cannot be read.
pub fn end_of(certificate: &[u8]) -> Option<Timestamp> {
    let end = Certificate::from_der(certificate).ok()?.tbs_certificate.validity.not_after.to_unix_duration();
    Timestamp::from_second(end.as_secs().try_into().ok()?).ok()
}

/// Whole days between two times.
pub fn days_between(from: Timestamp, to: Timestamp) -> u64 {
    to.duration_since(from).unsigned_abs().as_secs() / (24 * 60 * 60)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_two_weeks_and_the_time_after_the_end_are_told_apart() {
        let end: Timestamp = "2026-12-15T00:00:00Z".parse().unwrap();
        for (now, expected) in [
            ("2026-11-30T23:59:59Z", Remaining::Enough),
            ("2026-12-01T00:00:00Z", Remaining::Enough),
            ("2026-12-01T00:00:01Z", Remaining::Soon),
            ("2026-12-14T23:59:59Z", Remaining::Soon),
            ("2026-12-15T00:00:00Z", Remaining::Nothing),
            ("2027-12-15T00:00:00Z", Remaining::Nothing),
        ] {
            assert_eq!(Remaining::at(now.parse().unwrap(), end), expected, "{now}");
        }
        assert_eq!(days_between("2026-12-12T01:00:00Z".parse().unwrap(), end), 2);
        assert_eq!(end_of(b"no certificate"), None);
    }
}
