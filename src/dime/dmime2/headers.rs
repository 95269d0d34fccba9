//! The text of the header chunks 33 and 34 (`dmime2.md` §9.2, §9.3): rules H1–H3.

use super::rule::{Rule, demand};

/// The fields of chunk 33 in their order, spelled as there.
pub const COMMON: [&str; 6] = ["Date", "To", "CC", "From", "Organization", "Subject"];

/// Names that chunk 34 must not contain besides the six and every name that starts with `DIME-`; in lower case.
pub const RESERVED: [&str; 13] = [
    "bcc",
    "resent-bcc",
    "return-path",
    "received",
    "delivered-to",
    "x-original-to",
    "envelope-to",
    "authentication-results",
    "received-spf",
    "dkim-signature",
    "arc-seal",
    "arc-message-signature",
    "arc-authentication-results",
];

/// Whether a field name is reserved: the six, the list, and `DIME-…`, without regard to case (H3).
pub fn is_reserved(name: &[u8]) -> bool {
    let is = |known: &&str| name.eq_ignore_ascii_case(known.as_bytes());
    let is_marker = name
        .get(..5)
        .is_some_and(|start| start.eq_ignore_ascii_case(b"dime-"));
    is_marker || COMMON.iter().any(is) || RESERVED.iter().any(is)
}

/// Whether a header value may contain this character (§9.2).
pub fn is_allowed(c: char) -> bool {
    c == '\t' || !(c.is_control() || matches!(c, '\u{2028}' | '\u{2029}'))
}

/// Checks the data of chunk 33 (H1).
pub fn check_common(data: &[u8]) -> Result<(), Rule> {
    let mut next = 0;
    let mut present = [false; COMMON.len()];
    for line in lines(data, Rule::H1)? {
        let (label, value) = line.split_once(": ").ok_or(Rule::H1)?;
        let place = COMMON.iter().position(|known| *known == label).ok_or(Rule::H1)?;
        let is_filled = !value.is_empty() || !matches!(label, "Date" | "From");
        demand(place >= next && is_filled && !has_outer_blank(value), Rule::H1)?;
        present[place] = true;
        next = place + 1;
    }
    let [date, to, _, from, _, subject] = present;
    demand(date && to && from && subject, Rule::H1)
}

/// Checks the data of chunk 34 (H2, H3).
pub fn check_other(data: &[u8]) -> Result<(), Rule> {
    let mut has_field = false;
    for line in lines(data, Rule::H2)? {
        if line.starts_with([' ', '\t']) {
            demand(has_field && !line.trim_matches([' ', '\t']).is_empty(), Rule::H2)?;
            continue;
        }
        let (name, _) = line.split_once(':').ok_or(Rule::H2)?;
        let is_name = !name.is_empty() && name.bytes().all(|octet| matches!(octet, 0x21..=0x7e));
        demand(is_name, Rule::H2)?;
        demand(!is_reserved(name.as_bytes()), Rule::H3)?;
        has_field = true;
    }
    demand(has_field, Rule::H2)
}

/// The lines without their CRLF, which the last one has too; all characters are allowed ones.
fn lines(data: &[u8], rule: Rule) -> Result<impl Iterator<Item = &str>, Rule> {
    let text = std::str::from_utf8(data).map_err(|_| rule)?;
    let text = text.strip_suffix("\r\n").ok_or(rule)?;
    let lines = text.split("\r\n");
    demand(lines.clone().all(|line| line.chars().all(is_allowed)), rule)?;
    Ok(lines)
}

fn has_outer_blank(value: &str) -> bool {
    value.starts_with([' ', '\t']) || value.ends_with([' ', '\t'])
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn names_are_reserved_without_regard_to_case() {
        for name in ["DIME-Verification", "dime-", "Subject", "cc", "BCC", "ARC-Seal"] {
            assert!(is_reserved(name.as_bytes()), "{name}");
        }
        for name in ["", "dime", "Dimension", "Resent-To", "Sender"] {
            assert!(!is_reserved(name.as_bytes()), "{name}");
        }
    }

    #[test]
    fn common_headers_have_one_form() {
        let check = |text: &str| check_common(text.as_bytes());
        assert_eq!(check("Date: d\r\nTo: \r\nFrom: f\r\nSubject: \r\n"), Ok(()));
        assert_eq!(check("Date: d\r\nTo: \r\nFrom: f\r\nSubject: "), Err(Rule::H1));
        assert_eq!(check("Date: d\r\nTo:\r\nFrom: f\r\nSubject: \r\n"), Err(Rule::H1));
        assert_eq!(check(""), Err(Rule::H1));
    }

    #[test]
    fn other_headers_have_a_field_at_least() {
        assert_eq!(check_other(b"A:\r\n"), Ok(()));
        assert_eq!(check_other(b"A: b\r\n c\r\n"), Ok(()));
        assert_eq!(check_other(b"\r\n"), Err(Rule::H2));
        assert_eq!(check_other(b" c\r\n"), Err(Rule::H2));
        assert_eq!(check_other(b"A: b\r\nSubject: c\r\n"), Err(Rule::H3));
    }

    proptest! {
        #[test]
        fn arbitrary_octets_never_panic(data in proptest::collection::vec(any::<u8>(), 0..100)) {
            let _ = (check_common(&data), check_other(&data));
        }
    }
}
