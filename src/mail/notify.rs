//! What a sender asks to be told of the delivery of a message (RFC 3461): RET and ENVID of MAIL, NOTIFY and ORCPT of RCPT.

use std::fmt;

use super::address::Mailbox;
use super::xtext;

/// Longest ENVID, as it is written (RFC 3461 §4.4).
const ENVELOPE_ID_CHARS: usize = 100;
/// Longest ORCPT, as it is written (RFC 3461 §4.2).
const ORIGINAL_CHARS: usize = 500;

/// RET: how much of a message that failed comes back (RFC 3461 §4.3).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ret {
    /// All of it.
    Full,
    /// Its header.
    Headers,
}

impl Ret {
    /// Reads the value of the parameter.
    pub fn parse(value: &str) -> Option<Self> {
        match value.to_ascii_uppercase().as_str() {
            "FULL" => Some(Self::Full),
            "HDRS" => Some(Self::Headers),
            _ => None,
        }
    }

    /// The value of the parameter.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Full => "FULL",
            Self::Headers => "HDRS",
        }
    }
}

/// ENVID: the sender's own word for the transaction, printable ASCII (RFC 3461 §4.4). It means nothing to us.
#[derive(Clone, PartialEq, Eq)]
pub struct EnvelopeId(String);

impl EnvelopeId {
    /// Reads the value of the parameter.
    pub fn parse(value: &str) -> Option<Self> {
        let text = xtext::decode(value)?;
        let fits = (1..=ENVELOPE_ID_CHARS).contains(&value.len());
        (fits && is_printable(&text)).then_some(Self(text))
    }

    /// As it stands in reports.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The value of the parameter.
    pub fn to_value(&self) -> String {
        xtext::encode(&self.0)
    }
}

/// It may say anything, so no log line shows it.
impl fmt::Debug for EnvelopeId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("EnvelopeId(…)")
    }
}

/// What is asked for a whole message.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct MessageRequest {
    /// RET, if it was given.
    pub ret: Option<Ret>,
    /// ENVID, if it was given.
    pub envelope_id: Option<EnvelopeId>,
}

/// NOTIFY: of what the sender wants to be told (RFC 3461 §4.1).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Notify {
    /// It was not given: failures are told, and delays if whoever meets them likes to.
    #[default]
    Unsaid,
    /// Of nothing.
    Never,
    /// Of these; at least one.
    Of {
        /// That the message was delivered, or is beyond the reach of reports.
        success: bool,
        /// That it will not be.
        failure: bool,
        /// That it still waits.
        delay: bool,
    },
}

impl Notify {
    /// Reads the value of the parameter.
    pub fn parse(value: &str) -> Option<Self> {
        if value.eq_ignore_ascii_case("NEVER") {
            return Some(Self::Never);
        }
        let (mut success, mut failure, mut delay) = (false, false, false);
        for word in value.split(',') {
            match word.to_ascii_uppercase().as_str() {
                "SUCCESS" => success = true,
                "FAILURE" => failure = true,
                "DELAY" => delay = true,
                _ => return None,
            }
        }
        Some(Self::Of {
            success,
            failure,
            delay,
        })
    }

    /// The value of the parameter, if there is to be one.
    pub fn to_value(self) -> Option<String> {
        match self {
            Self::Unsaid => None,
            Self::Never => Some("NEVER".to_owned()),
            Self::Of {
                success,
                failure,
                delay,
            } => {
                let words = [(success, "SUCCESS"), (failure, "FAILURE"), (delay, "DELAY")];
                let wanted: Vec<_> = words
                    .into_iter()
                    .filter_map(|(is_wanted, word)| is_wanted.then_some(word))
                    .collect();
                Some(wanted.join(","))
            }
        }
    }

    /// Whether a success is to be told.
    pub fn of_success(self) -> bool {
        matches!(self, Self::Of { success: true, .. })
    }

    /// Whether a failure is to be told.
    pub fn of_failure(self) -> bool {
        matches!(self, Self::Unsaid | Self::Of { failure: true, .. })
    }

    /// Whether a delay is to be told.
    pub fn of_delay(self) -> bool {
        matches!(self, Self::Unsaid | Self::Of { delay: true, .. })
    }

    /// The same for those whom an address stands for, once its own success has been told (RFC 3461 §5.2.7.2).
    pub fn without_success(self) -> Self {
        match self {
            Self::Of {
                failure: false,
                delay: false,
                ..
            } => Self::Never,
            Self::Of { failure, delay, .. } => Self::Of {
                success: false,
                failure,
                delay,
            },
            other => other,
        }
    }

    /// For somebody who was named twice: whatever either wants.
    pub fn or(self, other: Self) -> Self {
        match (self, other) {
            (one, same) if one == same => one,
            (Self::Never, other) | (other, Self::Never) => other,
            (one, other) => Self::Of {
                success: one.of_success() || other.of_success(),
                failure: one.of_failure() || other.of_failure(),
                delay: one.of_delay() || other.of_delay(),
            },
        }
    }
}

/// ORCPT: whom the sender named first, wherever aliases have led since (RFC 3461 §4.2).
#[derive(Clone, PartialEq, Eq)]
pub struct OriginalRecipient {
    kind: String,
    address: String,
}

/// The address type of RFC 6533 §3.
const UTF8: &str = "utf-8";

impl OriginalRecipient {
    /// Reads the value of the parameter: an address type, and an address in xtext or, for the type `utf-8`, in one of the
    /// forms of RFC 6533.
    pub fn parse(value: &str) -> Option<Self> {
        let (kind, encoded) = value.split_once(';')?;
        let kind = kind.to_ascii_lowercase();
        let address = match kind.as_str() {
            UTF8 => xtext::decode_utf8(encoded)?,
            _ => xtext::decode(encoded)?,
        };
        let fits = value.len() <= ORIGINAL_CHARS && !address.is_empty();
        let is_clean = !address.chars().any(char::is_control);
        (fits && is_clean && is_atom(&kind)).then_some(Self { kind, address })
    }

    /// For a recipient who was named without the parameter.
    pub fn of(mailbox: &Mailbox) -> Self {
        let kind = if mailbox.needs_utf8() { UTF8 } else { "rfc822" };
        Self {
            kind: kind.to_owned(),
            address: mailbox.to_string(),
        }
    }

    /// The value of the parameter, in ASCII.
    pub fn to_value(&self) -> String {
        let address = match self.kind.as_str() {
            UTF8 => xtext::encode_utf8(&self.address),
            _ => xtext::encode(&self.address),
        };
        format!("{};{address}", self.kind)
    }

    /// Address type and address, as they stand in reports.
    pub fn typed(&self) -> (&str, &str) {
        (&self.kind, &self.address)
    }
}

/// It names people, so no log line shows it.
impl fmt::Debug for OriginalRecipient {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "OriginalRecipient({};…)", self.kind)
    }
}

/// What is asked for one recipient.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct RecipientRequest {
    /// NOTIFY.
    pub notify: Notify,
    /// ORCPT, if it was given.
    pub original: Option<OriginalRecipient>,
}

/// Graphic characters and spaces.
fn is_printable(text: &str) -> bool {
    text.bytes().all(|octet| matches!(octet, b' '..=b'~'))
}

fn is_atom(text: &str) -> bool {
    let is_atext = |octet: u8| octet.is_ascii_alphanumeric() || b"!#$%&'*+-/=?^_`{|}~".contains(&octet);
    !text.is_empty() && text.bytes().all(is_atext)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn notify_is_never_or_a_list() {
        assert_eq!(Notify::parse("never"), Some(Notify::Never));
        let both = Notify::parse("Success,DELAY").unwrap();
        assert!(both.of_success() && both.of_delay() && !both.of_failure());
        assert_eq!(both.to_value().as_deref(), Some("SUCCESS,DELAY"));
        for bad in [
            "",
            ",",
            "SUCCESS,",
            "NEVER,FAILURE",
            "FAILURE,NEVER",
            "ALWAYS",
            "SUCCESS FAILURE",
        ] {
            assert_eq!(Notify::parse(bad), None, "{bad:?}");
        }
    }

    #[test]
    fn what_is_not_said_is_told_of_failures_and_delays() {
        let unsaid = Notify::default();
        assert!(unsaid.of_failure() && unsaid.of_delay() && !unsaid.of_success());
        assert_eq!(unsaid.to_value(), None);
        let never = Notify::Never;
        assert!(!never.of_failure() && !never.of_delay() && !never.of_success());
    }

    #[test]
    fn whoever_is_named_twice_is_asked_for_what_either_wants() {
        let parse = |text| Notify::parse(text).unwrap();
        assert_eq!(Notify::Never.or(Notify::Unsaid), Notify::Unsaid);
        assert_eq!(parse("SUCCESS").or(parse("DELAY")), parse("SUCCESS,DELAY"));
        let all = parse("SUCCESS,FAILURE,DELAY");
        assert_eq!(parse("SUCCESS").or(Notify::Unsaid), all);
    }

    #[test]
    fn a_success_is_told_once() {
        let parse = |text| Notify::parse(text).unwrap();
        assert_eq!(parse("SUCCESS").without_success(), Notify::Never);
        assert_eq!(parse("SUCCESS,FAILURE").without_success(), parse("FAILURE"));
        assert_eq!(Notify::Unsaid.without_success(), Notify::Unsaid);
    }

    #[test]
    fn an_envelope_id_is_printable_and_short() {
        let id = EnvelopeId::parse("QQ+20314+2B159").unwrap();
        assert_eq!(id.as_str(), "QQ 314+159");
        assert_eq!(id.to_value(), "QQ+20314+2B159");
        assert!(EnvelopeId::parse(&"x".repeat(100)).is_some());
        let long = "x".repeat(101);
        for bad in ["", "a+0D+0AFrom:", "a=b", "a+00", "a+7F", long.as_str()] {
            assert_eq!(EnvelopeId::parse(bad), None, "{bad:?}");
        }
        assert_eq!(format!("{id:?}"), "EnvelopeId(…)");
    }

    #[test]
    fn an_original_recipient_has_a_type() {
        let plain = OriginalRecipient::parse("RFC822;bob+2Bshop@hismail.test").unwrap();
        assert_eq!(plain.typed(), ("rfc822", "bob+shop@hismail.test"));
        assert_eq!(plain.to_value(), "rfc822;bob+2Bshop@hismail.test");
        for form in ["utf-8;zo\\x{EB}@hermail.test", "utf-8;zoë@hermail.test"] {
            let zoe = OriginalRecipient::parse(form).unwrap();
            assert_eq!(zoe.typed(), ("utf-8", "zoë@hermail.test"));
            assert_eq!(zoe.to_value(), "utf-8;zo\\x{EB}@hermail.test");
            assert_eq!(zoe, OriginalRecipient::of(&"zoë@hermail.test".parse().unwrap()));
        }
        let longest = format!("rfc822;{}", "x".repeat(493));
        assert!(OriginalRecipient::parse(&longest).is_some());
        let long = format!("{longest}x");
        for bad in [
            "bob@hismail.test",
            ";bob@hismail.test",
            "rfc822;",
            "rfc 822;bob",
            "rfc822;zoë@hermail.test",
            "rfc822;a+0D+0Ab",
            "utf-8;a\\x{0A}b",
            "rfc822;a=b",
            long.as_str(),
        ] {
            assert_eq!(OriginalRecipient::parse(bad), None, "{bad:?}");
        }
        assert_eq!(format!("{plain:?}"), "OriginalRecipient(rfc822;…)");
    }
}
