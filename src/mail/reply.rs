//! Replies of a server: code, enhanced status code, text (RFC 5321 §4.2, RFC 3463).

use std::fmt;

/// An enhanced status code, `class.subject.detail` (RFC 3463).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct EnhancedStatus(pub u8, pub u16, pub u16);

impl fmt::Display for EnhancedStatus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}.{}", self.0, self.1, self.2)
    }
}

impl EnhancedStatus {
    /// Reads exactly `class.subject.detail`: class 2, 4 or 5, the others one to three digits.
    pub fn parse(text: &str) -> Option<Self> {
        let mut parts = text.split('.');
        let class = parts.next().filter(|class| matches!(*class, "2" | "4" | "5"))?;
        let subject = number(parts.next()?)?;
        let detail = number(parts.next()?)?;
        let class = class.parse().ok()?;
        parts.next().is_none().then_some(Self(class, subject, detail))
    }
}

/// One to three digits without a needless zero in front.
fn number(text: &str) -> Option<u16> {
    let is_number = (1..=3).contains(&text.len()) && text.bytes().all(|octet| octet.is_ascii_digit());
    let is_canonical = text == "0" || !text.starts_with('0');
    (is_number && is_canonical).then(|| text.parse().ok()).flatten()
}

/// One complete reply, of one line or several.
///
/// `lines` hold printable text without line ends; whoever builds a reply from a peer's words cleans them first.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reply {
    /// Three digits, 200–599.
    pub code: u16,
    /// Written after the code of every line when present.
    pub enhanced: Option<EnhancedStatus>,
    /// At least one line; may be empty text.
    pub lines: Vec<String>,
}

impl Reply {
    /// A reply of one line with an enhanced status code.
    pub fn new(code: u16, enhanced: EnhancedStatus, text: impl Into<String>) -> Self {
        Self {
            code,
            enhanced: Some(enhanced),
            lines: vec![text.into()],
        }
    }

    /// A reply of one line without one.
    pub fn plain(code: u16, text: impl Into<String>) -> Self {
        Self {
            code,
            enhanced: None,
            lines: vec![text.into()],
        }
    }

    /// The reply as it is sent: every line with code and enhanced status code, CRLF at the end of each.
    pub fn to_wire(&self) -> Vec<u8> {
        let enhanced = self.enhanced.map_or(String::new(), |status| format!("{status} "));
        let last = self.lines.len().saturating_sub(1);
        let mut wire = String::new();
        for (index, line) in self.lines.iter().enumerate() {
            let mark = if index == last { ' ' } else { '-' };
            wire.push_str(&format!("{}{mark}{enhanced}{line}\r\n", self.code));
        }
        wire.into_bytes()
    }

    /// 2xx.
    pub fn is_positive(&self) -> bool {
        self.code / 100 == 2
    }

    /// 4xx: worth trying again.
    pub fn is_transient(&self) -> bool {
        self.code / 100 == 4
    }

    /// 5xx: final.
    pub fn is_permanent(&self) -> bool {
        self.code / 100 == 5
    }
}

/// The text of all lines on one, as logs and reports show it.
impl fmt::Display for Reply {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.code)?;
        if let Some(enhanced) = self.enhanced {
            write!(f, " {enhanced}")?;
        }
        write!(f, " {}", self.lines.join(" "))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn wire_form_repeats_code_and_status_on_every_line() {
        let mut reply = Reply::new(250, EnhancedStatus(2, 1, 0), "first");
        reply.lines.push("last".into());
        assert_eq!(reply.to_wire(), b"250-2.1.0 first\r\n250 2.1.0 last\r\n");
        assert_eq!(Reply::plain(354, "go").to_wire(), b"354 go\r\n");
    }

    #[test]
    fn enhanced_status_codes_have_one_form() {
        assert_eq!(EnhancedStatus::parse("5.7.26"), Some(EnhancedStatus(5, 7, 26)));
        for bad in [
            "", "5", "5.7", "5.7.1.1", "3.0.0", "5.07.1", "5.7.1000", "5..1", "5.7.+1", "5.7.1 ",
        ] {
            assert_eq!(EnhancedStatus::parse(bad), None, "{bad:?}");
        }
    }
}
