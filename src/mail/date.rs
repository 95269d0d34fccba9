//! Dates of header fields.

use mail_builder::headers::date::Date;

use crate::base::time::Timestamp;

/// `date-time` of RFC 5322 §3.3 in UTC, as `Date:` and trace fields show it.
pub fn rfc5322(time: Timestamp) -> String {
    Date::new(time.unix_secs()).to_rfc822()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shows_weekday_and_utc() {
        assert_eq!(
            rfc5322(Timestamp(784_111_777_999)),
            "Sun, 6 Nov 1994 08:49:37 +0000"
        );
        assert_eq!(
            rfc5322(Timestamp(1_709_164_800_000)),
            "Thu, 29 Feb 2024 00:00:00 +0000"
        );
    }
}
