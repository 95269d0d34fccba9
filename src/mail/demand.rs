//! What the author of a message demands of its way: D/MIME or nothing, TLS or nothing, or no policy about TLS at all.
//!
//! | Said by | Where | Means |
//! |---|---|---|
//! | `DIME-Required: Yes` | header, at submission; it goes no further | the message leaves as D/MIME, or comes back |
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

/// Reads the demands in a header block. `required` if MAIL said so; only a message that is `submitted` can forbid SMTP.
///
/// A `TLS-Required` that is not exactly `No`, or stands there twice, says nothing (RFC 8689 §5).
pub fn read(block: &[u8], required: bool, submitted: bool) -> Result<Demand, Error> {
    Ok(Demand {
        dime: submitted && forbids_smtp(block)?,
        tls: match (required, says_once(block, TLS_REQUIRED, "No")) {
            (true, _) => TlsDemand::Required,
            (false, Some(true)) => TlsDemand::Waived,
            (false, _) => TlsDemand::Policy,
        },
    })
}

fn forbids_smtp(block: &[u8]) -> Result<bool, Error> {
    match says_once(block, DIME_REQUIRED, "Yes") {
        None => Ok(false),
        Some(true) => Ok(true),
        Some(false) => Err(Error::Dime),
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

    fn demand(dime: bool, tls: TlsDemand) -> Result<Demand, Error> {
        Ok(Demand { dime, tls })
    }

    #[test]
    fn each_field_says_one_thing() {
        use TlsDemand::{Policy, Required, Waived};
        let cases: [(&[u8], bool, bool, _); 12] = [
            (b"Subject: x\r\n", false, true, demand(false, Policy)),
            (b"DIME-Required: Yes\r\n", false, true, demand(true, Policy)),
            (b"dime-required:\r\n\tyes \r\n", false, true, demand(true, Policy)),
            (b"DIME-Required: Yes\r\n", true, true, demand(true, Required)),
            (b"DIME-Required: No\r\n", false, true, Err(Error::Dime)),
            (b"DIME-Required:\r\n", false, true, Err(Error::Dime)),
            (
                b"DIME-Required: Yes\r\nDIME-Required: Yes\r\n",
                false,
                true,
                Err(Error::Dime),
            ),
            (b"DIME-Required: perhaps\r\n", false, false, demand(false, Policy)),
            (b"TLS-Required: no\r\n", false, false, demand(false, Waived)),
            (b"TLS-Required: No\r\n", true, false, demand(false, Required)),
            (b"TLS-Required: Yes\r\n", false, false, demand(false, Policy)),
            (
                b"TLS-Required: No\r\nTLS-Required: No\r\n",
                false,
                false,
                demand(false, Policy),
            ),
        ];
        for (block, required, submitted, expected) in cases {
            let text = String::from_utf8_lossy(block);
            assert_eq!(
                read(block, required, submitted),
                expected,
                "{text:?} {required} {submitted}"
            );
        }
    }

    #[test]
    fn the_body_demands_nothing() {
        let message = b"Subject: x\r\n\r\nDIME-Required: Yes\r\nTLS-Required: No\r\n";
        assert_eq!(read(message, false, true), demand(false, TlsDemand::Policy));
    }
}
