//! The one step that repairs the header block of a message which one of our users submits.
//!
//! Mail programs really send what `dmime2.md` §16.2 refuses, and other hosts may refuse too. What has only one sensible
//! meaning is repaired; what has two is refused in words that a user can act on. Mail from anybody else is not repaired.
//! The body stays as it is.
//!
//! | Found | What happens |
//! |---|---|
//! | a bare CR or LF | it ends the line, as everywhere (`dmime2.md` §17); what follows and is neither a field, a continuation nor an empty line was part of the value, and is folded |
//! | CR CR LF | one line end |
//! | well-formed UTF-8 | stays |
//! | octets that are no UTF-8 | are read as Windows-1252, which has the letters of ISO 8859-1, and written as UTF-8 |
//! | control characters but HTAB, U+2028, U+2029 | each becomes a space |
//! | continuation lines of blanks only | go |
//! | a first line `From …` or `>From …` of a mailbox file | goes |
//! | no Date, or an empty one | the time of submission; likewise Message-ID (RFC 6409 §8) |
//! | Bcc, Resent-Bcc | go, for recipients are in the envelope |
//! | Date twice | the first stays |
//! | From, Subject, Organization twice | copies with the same value go, and empty ones; otherwise [`Error::Repeated`] |
//! | no From, or an empty one | [`Error::NoFrom`] |
//! | any other line that is no field | [`Error::NotAField`]: it could be anything, also the body of a message that lacks its empty line |

use super::headers::name_length;
use super::line_ends::line_end;

/// What a message gets if it lacks it.
#[derive(Debug, Clone, Copy)]
pub struct Supplied<'a> {
    /// A Date value.
    pub date: &'a str,
    /// A Message-ID value, with its angle brackets.
    pub message_id: &'a str,
}

/// What cannot be repaired.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A line, counted from 1, that is neither a field nor part of one.
    #[error("line {0} of the header is no field")]
    NotAField(usize),
    /// The message has no author.
    #[error("the message has no From field: whoever writes or sends it has to name its author there")]
    NoFrom,
    /// A field that may stand once and stands there with different values.
    #[error("the message has two different {0} fields")]
    Repeated(&'static str),
}

/// Fields that may stand once (RFC 5322 §3.6), as far as `dmime2.md` §16.2 says so too.
const ONCE: [&str; 4] = ["Date", "From", "Subject", "Organization"];
const BLIND: [&str; 2] = ["Bcc", "Resent-Bcc"];

/// Repairs the header block at the front of `message`: up to the first empty line, or all of it. What follows stays.
pub fn repair(message: &[u8], supplied: &Supplied<'_>) -> Result<Vec<u8>, Error> {
    let (mut fields, rest) = read(message)?;
    fields.retain(|field| !BLIND.iter().any(|name| field.is(name)));
    for name in ONCE {
        settle_repeated(&mut fields, name)?;
    }
    if lacks(&fields, "From") {
        return Err(Error::NoFrom);
    }
    let mut out = String::new();
    for (name, value) in [("Date", supplied.date), ("Message-ID", supplied.message_id)] {
        if lacks(&fields, name) {
            out.push_str(&format!("{name}: {value}\r\n"));
            fields.retain(|field| !field.is(name));
        }
    }
    out.extend(fields.iter().map(|field| field.text.as_str()));
    let (empty_line, body) = rest.map_or((&b""[..], &b""[..]), |body| (b"\r\n", body));
    Ok([out.as_bytes(), empty_line, body].concat())
}

fn lacks(fields: &[Field], name: &str) -> bool {
    !fields.iter().any(|field| field.is(name) && !field.is_empty())
}

/// One field, already of characters that may stand in it.
struct Field {
    name: String,
    /// Name, colon, value with its folds, and the final line end.
    text: String,
}

impl Field {
    fn is(&self, name: &str) -> bool {
        self.name.eq_ignore_ascii_case(name)
    }

    /// The value in one line, for comparing.
    fn value(&self) -> String {
        let value = self.text.split_once(':').map_or("", |(_, value)| value);
        value.replace("\r\n", "").trim_matches([' ', '\t']).to_owned()
    }

    fn is_empty(&self) -> bool {
        self.value().is_empty()
    }
}

/// The fields up to the first empty line, and what follows that, if there is one.
fn read(message: &[u8]) -> Result<(Vec<Field>, Option<&[u8]>), Error> {
    let mut fields = Vec::new();
    let (mut start, mut after_bare, mut number) = (0, false, 0);
    while start < message.len() {
        let end = line_end(message, start, false);
        let (text_end, next) = end.map_or((message.len(), message.len()), |end| (end.start, end.next));
        let line = &message[start..text_end];
        if line.is_empty() {
            return Ok((fields, Some(&message[next..])));
        }
        number += 1;
        let taken = take(line, after_bare, &mut fields);
        if !taken && (number > 1 || !is_mailbox_line(line)) {
            return Err(Error::NotAField(number));
        }
        after_bare = end.is_some_and(|end| end.bare);
        start = next;
    }
    Ok((fields, None))
}

/// Adds a line to the fields; false if it is none and belongs to none.
fn take(line: &[u8], after_bare: bool, fields: &mut Vec<Field>) -> bool {
    let text = readable(line);
    if let Some(length) = name_length(line) {
        fields.push(Field {
            name: text[..length].to_owned(),
            text: text + "\r\n",
        });
        return true;
    }
    let fold = match line.first() {
        Some(b' ' | b'\t') => "",
        _ if after_bare => " ",
        _ => return false,
    };
    if text.trim_matches([' ', '\t']).is_empty() {
        return true;
    }
    let Some(field) = fields.last_mut() else {
        return false;
    };
    field.text.extend([fold, &text, "\r\n"]);
    true
}

/// The line that stands before each message in a mailbox file.
fn is_mailbox_line(line: &[u8]) -> bool {
    line.starts_with(b"From ") || line.starts_with(b">From ")
}

/// The characters that are meant; what is no UTF-8 is taken for Windows-1252.
pub(super) fn characters(octets: &[u8]) -> String {
    let mut text = String::with_capacity(octets.len());
    for chunk in octets.utf8_chunks() {
        text.push_str(chunk.valid());
        text.extend(chunk.invalid().iter().map(|octet| windows_1252(*octet)));
    }
    text
}

/// The text of a line; what must not stand in a header becomes a space.
fn readable(line: &[u8]) -> String {
    let text = characters(line);
    let stays = |c: char| c == '\t' || !(c.is_control() || matches!(c, '\u{2028}' | '\u{2029}'));
    text.replace(|c| !stays(c), " ")
}

/// What an octet above 127 means in Windows-1252; U+FFFD where it means nothing.
fn windows_1252(octet: u8) -> char {
    const FROM_128: [char; 32] = [
        '€', '\u{fffd}', '‚', 'ƒ', '„', '…', '†', '‡', 'ˆ', '‰', 'Š', '‹', 'Œ', '\u{fffd}', 'Ž', '\u{fffd}',
        '\u{fffd}', '‘', '’', '“', '”', '•', '–', '—', '˜', '™', 'š', '›', 'œ', '\u{fffd}', 'ž', 'Ÿ',
    ];
    match octet {
        128..160 => FROM_128[usize::from(octet) - 128],
        _ => char::from(octet),
    }
}

/// Leaves one field of that name.
fn settle_repeated(fields: &mut Vec<Field>, name: &'static str) -> Result<(), Error> {
    let values = || fields.iter().filter(|field| field.is(name)).map(Field::value);
    if values().count() < 2 {
        return Ok(());
    }
    let first = values().find(|value| !value.is_empty()).unwrap_or_default();
    if name != "Date" && values().any(|value| !value.is_empty() && value != first) {
        return Err(Error::Repeated(name));
    }
    let mut kept = false;
    fields.retain(|field| {
        !field.is(name)
            || (!kept && field.value() == first && {
                kept = true;
                true
            })
    });
    Ok(())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use proptest::prelude::*;

    use super::*;

    const SUPPLIED: Supplied<'_> = Supplied {
        date: "Fri, 15 Jan 2027 08:00:00 +0000",
        message_id: "<1@a.test>",
    };
    const COMPLETE: &str = "Message-ID: <1@a.test>\r\nDate: now\r\nFrom: a@a.test\r\n";

    /// The repaired form of a block with these lines behind fields that need no repair.
    fn repaired(lines: &[u8]) -> Result<String, Error> {
        let message = [COMPLETE.as_bytes(), lines, b"\r\nbody\n"].concat();
        let text = String::from_utf8(repair(&message, &SUPPLIED)?).unwrap();
        let fields = text.strip_prefix(COMPLETE).unwrap().strip_suffix("\r\nbody\n");
        Ok(fields.unwrap().to_owned())
    }

    #[test]
    fn what_needs_no_repair_stays_octet_for_octet() {
        let message = format!(
            "{COMPLETE}Subject : caf\u{e9}\r\n \tfolded \r\nX: \r\n\r\nBcc: is text here\nin the body\r\r\n\0\u{fe}"
        );
        assert_eq!(repair(message.as_bytes(), &SUPPLIED).unwrap(), message.as_bytes());
        assert_eq!(
            repair(COMPLETE.as_bytes(), &SUPPLIED).unwrap(),
            COMPLETE.as_bytes()
        );
    }

    #[test]
    fn bare_line_ends_become_line_ends_or_folds() {
        for (found, wanted) in [
            ("Subject: a\nX: b\r\n", "Subject: a\r\nX: b\r\n"),
            ("Subject: a\rX: b\r\n", "Subject: a\r\nX: b\r\n"),
            ("Subject: a\n b\r\n", "Subject: a\r\n b\r\n"),
            ("Subject: a\rmore\r\n", "Subject: a\r\n more\r\n"),
            (
                "Subject: a\nmore of it\nX: b\n",
                "Subject: a\r\n more of it\r\nX: b\r\n",
            ),
            ("Subject: a\r\r\nX: b\r\r\n", "Subject: a\r\nX: b\r\n"),
        ] {
            assert_eq!(repaired(found.as_bytes()).unwrap(), wanted, "{found:?}");
        }
    }

    #[test]
    fn a_message_of_lines_that_end_in_lf_is_repaired_whole() {
        let message = "From: a@a.test\nSubject: s\n\nbody\n";
        let expected = "Date: Fri, 15 Jan 2027 08:00:00 +0000\r\nMessage-ID: <1@a.test>\r\n\
                        From: a@a.test\r\nSubject: s\r\n\r\nbody\n";
        let repaired = repair(message.as_bytes(), &SUPPLIED).unwrap();
        assert_eq!(String::from_utf8(repaired).unwrap(), expected);
    }

    #[test]
    fn octets_that_no_header_may_have_are_replaced() {
        for (found, wanted) in [
            (
                &b"Subject: Gr\xfc\xdfe \x80 \x96 \x81\r\n"[..],
                "Subject: Grüße € – \u{fffd}\r\n",
            ),
            (b"Subject: Gr\xc3\xbc\xdfe\r\n", "Subject: Grüße\r\n"),
            (
                b"Subject: a\0b\x07c\x0cd\x7fe\tf\r\n",
                "Subject: a b c d e\tf\r\n",
            ),
            (
                "Subject: a\u{85}b\u{2028}c\u{2029}\r\n".as_bytes(),
                "Subject: a b c \r\n",
            ),
            (b"X: a\r\n \t \r\n \x01\r\n b\r\n", "X: a\r\n b\r\n"),
        ] {
            assert_eq!(repaired(found).unwrap(), wanted);
        }
    }

    #[test]
    fn date_and_message_id_are_supplied() {
        for front in ["", "Date:  \r\n", "Message-ID:\r\n"] {
            let message = format!("{front}From: a@a.test\r\n\r\n");
            let repaired = repair(message.as_bytes(), &SUPPLIED).unwrap();
            let expected =
                "Date: Fri, 15 Jan 2027 08:00:00 +0000\r\nMessage-ID: <1@a.test>\r\nFrom: a@a.test\r\n\r\n";
            assert_eq!(String::from_utf8(repaired).unwrap(), expected);
        }
    }

    #[test]
    fn blind_copies_stay_blind() {
        assert_eq!(
            repaired(b"BCC : x@b.test,\r\n y@b.test\r\nResent-bcc: z@b.test\r\n").unwrap(),
            ""
        );
        assert_eq!(
            repaired(b"X: a\rBcc: x@b.test\ny@b.test\r\n").unwrap(),
            "X: a\r\n"
        );
    }

    #[test]
    fn fields_that_may_stand_once_do() {
        assert_eq!(repaired(b"Date: later\r\nFROM:  a@a.test \r\n").unwrap(), "");
        assert_eq!(
            repaired(b"Subject:\r\nSubject: a\r\nSubject: a\r\n").unwrap(),
            "Subject: a\r\n"
        );
        assert_eq!(repaired(b"Subject:\r\nSubject: \r\n").unwrap(), "Subject:\r\n");
        assert_eq!(
            repaired(b"Subject: a\r\nsubject: b\r\n"),
            Err(Error::Repeated("Subject"))
        );
        assert_eq!(repaired(b"From: b@a.test\r\n"), Err(Error::Repeated("From")));
    }

    #[test]
    fn what_has_no_one_meaning_is_refused() {
        assert_eq!(
            repaired(b"no field\r\nBcc: x@b.test\r\n"),
            Err(Error::NotAField(4))
        );
        assert_eq!(
            repair(b" folded\r\nFrom: a@a.test\r\n", &SUPPLIED),
            Err(Error::NotAField(1))
        );
        assert_eq!(repair(b"To: b@b.test\r\n\r\n", &SUPPLIED), Err(Error::NoFrom));
        assert_eq!(repair(b"From: \x01\r\n\r\n", &SUPPLIED), Err(Error::NoFrom));
    }

    #[test]
    fn the_line_of_a_mailbox_file_goes() {
        for front in ["From a@a.test Fri Jan 15 08:00:00 2027\n", ">From a@a.test\r\n"] {
            let message = format!("{front}{COMPLETE}\r\n");
            let expected = format!("{COMPLETE}\r\n");
            assert_eq!(
                repair(message.as_bytes(), &SUPPLIED).unwrap(),
                expected.as_bytes()
            );
        }
        assert_eq!(repaired(b"From a@a.test\r\n"), Err(Error::NotAField(4)));
    }

    proptest! {
        #[test]
        fn repairing_again_changes_nothing(
            lines in prop::collection::vec(prop::sample::select(vec![
                &b"A: b"[..], b"Subject: s", b"Bcc: c", b"\r", b"\n", b"\r\n", b" ", b"\xe9\x85", b"text", b":", b"\0",
            ]), 0..20),
        ) {
            let message = [b"From: a\r\n", &lines.concat()[..]].concat();
            if let Ok(once) = repair(&message, &SUPPLIED) {
                prop_assert_eq!(&repair(&once, &SUPPLIED).unwrap(), &once);
            }
        }
    }
}
