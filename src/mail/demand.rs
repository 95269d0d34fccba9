//! What the author of a message demands of its way: D/MIME or nothing, TLS or nothing, or no policy about TLS at all.
//!
//! | Said by | Where | Means |
//! |---|---|---|
//! | `DIME-Required: Yes` | header, at submission; like every field of that family it goes no further | the message leaves as D/MIME, or comes back |
//! | `REQUIRETLS` | parameter of MAIL (RFC 8689 §2) | it goes by SMTP only to hosts that are verified and promise the same |
//! | `TLS-Required: No` | header (RFC 8689 §5); it stays in the message | DANE and MTA-STS of the recipients' domains do not count |
//!
//! `REQUIRETLS` outweighs `TLS-Required`. None of them makes a DIME route any weaker.

use super::headers;

/// The field by which an author forbids SMTP.
pub const DIME_REQUIRED: &str = "DIME-Required";
/// The field by which an author lets policies about TLS be ignored.
pub const TLS_REQUIRED: &str = "TLS-Required";

/// What an author demands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct Demand {
    /// The message must not travel by SMTP.
    pub dime: bool,
    /// What SMTP has to do about TLS.
    pub tls: TlsDemand,
}

/// What an author demands of TLS.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum TlsDemand {
    /// What the recipient's domain wants.
    #[default]
    Policy,
    /// Verified TLS, here and everywhere after (`REQUIRETLS`).
    Required,
    /// Delivery matters more than protection (`TLS-Required: No`).
    Waived,
}

/// A demand that cannot be understood. It must not be overlooked, so the message is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The field has another value than its one, or stands there twice.
    #[error("the field {DIME_REQUIRED} stands there once and says \"Yes\", or is left out")]
    Dime,
}

/// Whether the header block of a submitted message forbids SMTP.
pub fn forbids_smtp(block: &[u8]) -> Result<bool, Error> {
    match says_once(block, DIME_REQUIRED, "Yes") {
        None => Ok(false),
        Some(true) => Ok(true),
        Some(false) => Err(Error::Dime),
    }
}

/// What a header block demands of TLS; `required` if MAIL said so.
///
/// A `TLS-Required` that is not exactly `No`, or stands there twice, says nothing (RFC 8689 §5).
pub fn tls(block: &[u8], required: bool) -> TlsDemand {
    match (required, says_once(block, TLS_REQUIRED, "No")) {
        (true, _) => TlsDemand::Required,
        (false, Some(true)) => TlsDemand::Waived,
        (false, _) => TlsDemand::Policy,
    }
}

/// Whether the field stands there once with that value, in any case; `None` if it is not there.
fn says_once(block: &[u8], name: &str, value: &str) -> Option<bool> {
    let mut found = headers::fields(block).filter(|field| field.is(name));
    let first = found.next()?;
    Some(found.next().is_none() && first.value().eq_ignore_ascii_case(value.as_bytes()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_field_that_says_yes_forbids_smtp() {
        let cases: [(&[u8], _); 8] = [
            (b"Subject: x\r\n", Ok(false)),
            (b"DIME-Required: Yes\r\n", Ok(true)),
            (b"dime-required:\r\n\tyes \r\n", Ok(true)),
            (b"DIME-Required: No\r\n", Err(Error::Dime)),
            (b"DIME-Required:\r\n", Err(Error::Dime)),
            (b"DIME-Required: Yes please\r\n", Err(Error::Dime)),
            (b"DIME-Required: Yes\r\nDIME-Required: Yes\r\n", Err(Error::Dime)),
            (b"Subject: x\r\n\r\nDIME-Required: Yes\r\n", Ok(false)),
        ];
        for (block, expected) in cases {
            assert_eq!(
                forbids_smtp(block),
                expected,
                "{:?}",
                String::from_utf8_lossy(block)
            );
        }
    }

    #[test]
    fn one_field_that_says_no_waives_tls_unless_it_is_required() {
        use TlsDemand::{Policy, Required, Waived};
        let cases: [(&[u8], TlsDemand); 6] = [
            (b"Subject: x\r\n", Policy),
            (b"TLS-Required: No\r\n", Waived),
            (b"tls-required:\r\n no\r\n", Waived),
            (b"TLS-Required: Yes\r\n", Policy),
            (b"TLS-Required: No\r\nTLS-Required: No\r\n", Policy),
            (b"Subject: x\r\n\r\nTLS-Required: No\r\n", Policy),
        ];
        for (block, expected) in cases {
            assert_eq!(
                tls(block, false),
                expected,
                "{:?}",
                String::from_utf8_lossy(block)
            );
            assert_eq!(tls(block, true), Required);
        }
    }
}
