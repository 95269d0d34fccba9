//! Completes what programs of this host write into a form that other hosts take, before it is
//! [repaired](super::repair).
//!
//! | Found | What happens |
//! |---|---|
//! | a line that is no field, before any empty line | the text starts there |
//! | a first line `From …` of a mailbox file | goes |
//! | no From, or an empty one | the user who sends it |
//! | names without a domain in fields of addresses | get the domain of this host |
//! | From, Subject or Organization twice, with different values | the first counts; the others are called `Repeated-Subject` and so on, for Postfix sends such mail, and programs rely on it |
//! | octets in fields of addresses that are no UTF-8 | are read as in [repair](super::repair) |

use super::address::{Domain, Mailbox};
use super::headers::name_length;
use super::line_ends::line_end;
use super::repair::characters;
use super::specs::specs;
use crate::base::encoding::base64;

/// Who sends a message if it does not say so itself.
#[derive(Debug, Clone, Copy)]
pub struct Author<'a> {
    /// The address.
    pub mailbox: &'a Mailbox,
    /// The full name; may be empty.
    pub name: &'a str,
    /// The domain of names without one.
    pub origin: &'a Domain,
}

const ADDRESS_FIELDS: [&str; 12] = [
    "From",
    "Sender",
    "Reply-To",
    "To",
    "Cc",
    "Bcc",
    "Resent-From",
    "Resent-Sender",
    "Resent-Reply-To",
    "Resent-To",
    "Resent-Cc",
    "Resent-Bcc",
];

/// Fields that may stand once ([repair](super::repair)); of several, a Date goes.
const ONCE: [&str; 3] = ["From", "Subject", "Organization"];

/// What the name of a field begins with that may stand once and has stood before.
const REPEATED: &str = "Repeated-";

/// Characters of a full name that are used.
const MOST_OF_NAME: usize = 100;

/// Octets of text in one encoded word, which has 75 at most (RFC 2047 §2).
const IN_ENCODED_WORD: usize = 45;

/// The address of somebody who may be named without a domain.
pub fn qualified(text: &str, origin: &Domain) -> Option<Mailbox> {
    let whole = Mailbox::parse(text);
    whole
        .or_else(|_| Mailbox::parse(&format!("{text}@{origin}")))
        .ok()
}

/// The address as programs of this host mean it: `localhost` and the first label of the host's name are other words for
/// the domain of names without one.
pub fn at_origin(mailbox: Mailbox, origin: &Domain, hostname: &Domain) -> Mailbox {
    if !is_short_for_host(mailbox.domain(), hostname) {
        return mailbox;
    }
    let text = mailbox.to_string();
    let local = text.rsplit_once('@').map(|(local, _)| local);
    let meant = local.and_then(|local| Mailbox::parse(&format!("{local}@{origin}")).ok());
    meant.unwrap_or(mailbox)
}

fn is_short_for_host(domain: &Domain, hostname: &Domain) -> bool {
    let first_label = hostname.as_str().split('.').next().unwrap_or_default();
    ["localhost", "localhost.localdomain", first_label]
        .iter()
        .any(|name| domain.as_str().eq_ignore_ascii_case(name))
}

/// Completes the header at the front of `message`, whose lines end in CRLF. What follows it stays.
pub fn complete(message: &[u8], author: &Author<'_>) -> Vec<u8> {
    let Header {
        fields,
        rest,
        has_empty_line,
    } = read(message);
    let mut out = Vec::with_capacity(message.len() + 200);
    if !fields
        .iter()
        .any(|field| is_named(field, "From") && !value(field).trim_ascii().is_empty())
    {
        out.extend_from_slice(from(author).as_bytes());
    }
    for field in &fields {
        if is_repeated(field, &fields) {
            out.extend_from_slice(REPEATED.as_bytes());
        }
        match with_domains(field, author.origin) {
            Some(changed) => out.extend_from_slice(changed.as_bytes()),
            None => out.extend_from_slice(field),
        }
        if !field.ends_with(b"\n") {
            out.extend_from_slice(b"\r\n");
        }
    }
    if !has_empty_line {
        out.extend_from_slice(b"\r\n");
    }
    out.extend_from_slice(rest);
    out
}

/// Whether a message begins with a header, or with the empty line behind none: what does not is text from its start, however
/// long it goes on.
pub fn begins_with_header(message: &[u8]) -> bool {
    let end = line_end(message, 0, false).map_or(message.len(), |end| end.start);
    let line = &message[..end];
    line.is_empty() || name_length(line).is_some() || is_mailbox_line(line)
}

/// The line that stands before each message in a mailbox file.
fn is_mailbox_line(line: &[u8]) -> bool {
    line.starts_with(b"From ") || line.starts_with(b">From ")
}

/// The recipients that the header names: those of To, Cc and Bcc, or if it was sent once more, those of the Resent fields.
/// `None` if one of the fields cannot be read; the lines end in CRLF.
pub fn recipients(message: &[u8]) -> Option<Vec<String>> {
    let fields = read(message).fields;
    let of = |names: [&str; 3]| -> Option<Vec<String>> {
        let named = fields
            .iter()
            .filter(|field| names.iter().any(|name| is_named(field, name)));
        let mut all = Vec::new();
        for field in named {
            let list = specs(&characters(value(field)))?;
            all.extend(list.into_iter().map(|spec| spec.text));
        }
        Some(all)
    };
    let resent = ["Resent-To", "Resent-Cc", "Resent-Bcc"];
    match fields
        .iter()
        .any(|field| resent.iter().any(|name| is_named(field, name)))
    {
        true => of(resent),
        false => of(["To", "Cc", "Bcc"]),
    }
}

struct Header<'a> {
    /// Each with its folds and line ends.
    fields: Vec<&'a [u8]>,
    /// From the empty line on, or from the first line that is no field.
    rest: &'a [u8],
    has_empty_line: bool,
}

fn read(message: &[u8]) -> Header<'_> {
    let mut fields: Vec<(usize, usize)> = Vec::new();
    let mut start = 0;
    let mut has_empty_line = false;
    while start < message.len() {
        let end = line_end(message, start, false);
        let (text_end, next) = end.map_or((message.len(), message.len()), |end| (end.start, end.next));
        let line = &message[start..text_end];
        let is_first = start == 0;
        let is_fold = line.starts_with(b" ") || line.starts_with(b"\t");
        match fields.last_mut() {
            _ if line.is_empty() => {
                has_empty_line = true;
                break;
            }
            Some((_, field_end)) if is_fold => *field_end = next,
            _ if name_length(line).is_some() => fields.push((start, next)),
            _ if is_first && is_mailbox_line(line) => {}
            _ => break,
        }
        start = next;
    }
    Header {
        fields: fields
            .into_iter()
            .map(|(start, end)| &message[start..end])
            .collect(),
        rest: &message[start.min(message.len())..],
        has_empty_line,
    }
}

/// Whether the field may stand once, and another one with another value counts.
fn is_repeated(field: &[u8], fields: &[&[u8]]) -> bool {
    let text = |field| value(field).trim_ascii();
    let Some(name) = ONCE.iter().find(|name| is_named(field, name)) else {
        return false;
    };
    let mut said = fields
        .iter()
        .filter(|field| is_named(field, name) && !text(field).is_empty());
    let first = said.next().map(|first| text(first));
    !text(field).is_empty() && first != Some(text(field))
}

fn is_named(field: &[u8], name: &str) -> bool {
    name_length(field).is_some_and(|length| field[..length].eq_ignore_ascii_case(name.as_bytes()))
}

/// What stands behind the colon.
fn value(field: &[u8]) -> &[u8] {
    let colon = memchr::memchr(b':', field);
    colon.and_then(|at| field.get(at + 1..)).unwrap_or_default()
}

/// The field with domains behind names that lack one; `None` if it stays as it is.
fn with_domains(field: &[u8], origin: &Domain) -> Option<String> {
    if !ADDRESS_FIELDS.iter().any(|name| is_named(field, name)) {
        return None;
    }
    let mut whole = characters(field);
    let colon = whole.find(':')? + 1;
    let names = specs(&whole[colon..])?;
    for spec in names.iter().rev().filter(|spec| !spec.has_domain()) {
        if Mailbox::parse(&format!("{}@{origin}", spec.text)).is_ok() {
            whole.insert_str(colon + spec.end, &format!("@{origin}"));
        }
    }
    Some(whole)
}

fn from(author: &Author<'_>) -> String {
    let name: String = author.name.trim().chars().take(MOST_OF_NAME).collect();
    let mailbox = author.mailbox;
    match phrase(&name) {
        phrase if phrase.is_empty() => format!("From: {mailbox}\r\n"),
        phrase => format!("From: {phrase} <{mailbox}>\r\n"),
    }
}

/// A name as a header has it: as it is, in quotes, or in encoded words (RFC 2047).
fn phrase(name: &str) -> String {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || "!#$%&'*+-/=?^_`{|}~ ".contains(c);
    if name.chars().all(is_plain) && !name.contains("=?") {
        return name.to_owned();
    }
    if name.is_ascii() && !name.contains("=?") {
        let clean = name.replace(|c: char| c.is_control(), " ");
        return format!("\"{}\"", clean.replace('\\', "\\\\").replace('"', "\\\""));
    }
    let mut words = vec![String::new()];
    for c in name.chars().filter(|c| !c.is_control()) {
        if words
            .last()
            .is_some_and(|word| word.len() + c.len_utf8() > IN_ENCODED_WORD)
        {
            words.push(String::new());
        }
        words.iter_mut().last().into_iter().for_each(|word| word.push(c));
    }
    let words = words
        .iter()
        .map(|word| format!("=?utf-8?B?{}?=", base64(word.as_bytes())));
    words.collect::<Vec<_>>().join("\r\n ")
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    fn completed_as(message: &str, name: &str) -> String {
        let author = Author {
            mailbox: &"alice@h.test".parse().unwrap(),
            name,
            origin: &"h.test".parse().unwrap(),
        };
        String::from_utf8(complete(message.as_bytes(), &author)).unwrap()
    }

    fn completed(message: &str) -> String {
        completed_as(message, "Alice")
    }

    #[test]
    fn what_is_complete_stays_octet_for_octet() {
        let message = "From: a@a.test\r\nTo: Bob <b@b.test>,\r\n\tc@c.test\r\nX: root\r\n\r\nTo: root\r\n";
        assert_eq!(completed(message), message);
    }

    #[test]
    fn names_get_the_domain_of_the_host() {
        assert_eq!(
            completed("From: root (Cron Daemon)\r\nTO: root, b@b.test\r\nSubject: root\r\n\r\n"),
            "From: root@h.test (Cron Daemon)\r\nTO: root@h.test, b@b.test\r\nSubject: root\r\n\r\n"
        );
        assert_eq!(
            completed("From: a@a.test\r\nCc: Bob\r\n <bob>\r\n\r\n"),
            "From: a@a.test\r\nCc: Bob\r\n <bob@h.test>\r\n\r\n"
        );
        // Nobody can say what these mean.
        let odd = "From: a@a.test\r\nTo: two words\r\nReply-To: \"a\r\n\r\n";
        assert_eq!(completed(odd), odd);
    }

    #[test]
    fn a_message_without_author_is_by_the_user() {
        assert_eq!(
            completed("Subject: s\r\n\r\nb\r\n"),
            "From: Alice <alice@h.test>\r\nSubject: s\r\n\r\nb\r\n"
        );
        assert_eq!(
            completed("From: \r\n\r\n"),
            "From: Alice <alice@h.test>\r\nFrom: \r\n\r\n"
        );
        for (name, shown) in [
            ("", "alice@h.test"),
            ("Alice O'Hara", "Alice O'Hara <alice@h.test>"),
            ("Dr. \"A\"", "\"Dr. \\\"A\\\"\" <alice@h.test>"),
            ("Ålice", "=?utf-8?B?w4VsaWNl?= <alice@h.test>"),
            ("a\r\nBcc: b", "\"a  Bcc: b\" <alice@h.test>"),
        ] {
            assert_eq!(completed_as("\r\n", name), format!("From: {shown}\r\n\r\n"));
        }
        let long = completed_as("\r\n", &"Å".repeat(100));
        assert!(long.lines().all(|line| line.len() <= 90), "{long}");
    }

    #[test]
    fn text_without_header_is_the_body() {
        for (message, whole) in [
            ("hello\r\n", "From: Alice <alice@h.test>\r\n\r\nhello\r\n"),
            ("", "From: Alice <alice@h.test>\r\n\r\n"),
            (
                "Subject: s\r\ntext: no\r\nmore text\r\n",
                "From: Alice <alice@h.test>\r\nSubject: s\r\ntext: no\r\n\r\nmore text\r\n",
            ),
            (" hello\r\n", "From: Alice <alice@h.test>\r\n\r\n hello\r\n"),
            (
                "From me to you\r\nhello\r\n",
                "From: Alice <alice@h.test>\r\n\r\nhello\r\n",
            ),
            ("Subject: s", "From: Alice <alice@h.test>\r\nSubject: s\r\n\r\n"),
        ] {
            assert_eq!(completed(message), whole, "{message:?}");
        }
    }

    #[test]
    fn text_is_known_by_its_first_line() {
        for header in [
            "",
            "\r\n",
            "A: b",
            "A : b\r\n",
            "From a\r\n",
            ">From a\r\nA: b\r\n",
        ] {
            assert!(begins_with_header(header.as_bytes()), "{header:?}");
        }
        for text in ["a", "a\r\nA: b\r\n", " A: b\r\n", "a b: c\r\n"] {
            assert!(!begins_with_header(text.as_bytes()), "{text:?}");
        }
    }

    #[test]
    fn recipients_are_those_of_the_last_sending() {
        let named = |message: &str| recipients(message.as_bytes());
        let found = named("To: root, B <b@b.test>\r\ncc: c\r\nBCC: d@d.test\r\nX: x\r\n\r\nTo: e\r\n");
        assert_eq!(found.unwrap(), ["root", "b@b.test", "c", "d@d.test"]);
        let found = named("To: a\r\nResent-To: b\r\nResent-Bcc: c\r\n\r\n");
        assert_eq!(found.unwrap(), ["b", "c"]);
        assert_eq!(named("hello\r\nTo: a\r\n").unwrap(), Vec::<String>::new());
        assert_eq!(named("To: a b\r\n\r\n"), None);
    }

    #[test]
    fn a_name_without_domain_is_one_of_this_host() {
        let origin = "h.test".parse().unwrap();
        let of = |text: &str| qualified(text, &origin).map(|mailbox| mailbox.to_string());
        assert_eq!(of("root").unwrap(), "root@h.test");
        assert_eq!(of("a@b.test").unwrap(), "a@b.test");
        assert_eq!(of("\"a@b\"").unwrap(), "\"a@b\"@h.test");
        for none in ["", "a b", "a@b@", "a@"] {
            assert_eq!(of(none), None, "{none}");
        }
    }

    #[test]
    fn short_names_of_the_host_mean_its_origin() {
        let (origin, hostname) = ("h.test".parse().unwrap(), "mx.h.test".parse().unwrap());
        for (named, meant) in [
            ("root@localhost", "root@h.test"),
            ("root@LocalHost.LocalDomain", "root@h.test"),
            ("root@mx", "root@h.test"),
            ("\"a@b\"@localhost", "\"a@b\"@h.test"),
            ("root@mx.h.test", "root@mx.h.test"),
            ("root@mx.test", "root@mx.test"),
            ("root@h", "root@h"),
        ] {
            let mailbox = at_origin(named.parse().unwrap(), &origin, &hostname);
            assert_eq!(mailbox.to_string(), meant);
        }
    }

    proptest::proptest! {
        #[test]
        fn completing_again_changes_nothing(message in "(From|To|Bcc|X| |\t|:|,|<|>|\"|a|b@c.test|\r\n){0,30}") {
            let once = completed(&message);
            proptest::prop_assert_eq!(completed(&once), once.clone());
        }
    }

    #[test]
    fn of_fields_that_may_stand_once_the_first_counts_and_the_others_stay_under_another_name() {
        let completed = completed_as(
            "From: a@a.test\r\nSubject:\r\nSubject: one\r\nsubject: two\r\n more\r\nSubject:  one\r\nfrom: b\r\n\r\nx\r\n",
            "",
        );
        assert_eq!(
            completed,
            "From: a@a.test\r\nSubject:\r\nSubject: one\r\nRepeated-subject: two\r\n more\r\nSubject:  one\r\n\
             Repeated-from: b@h.test\r\n\r\nx\r\n"
        );
    }

    #[test]
    fn addresses_are_found_beside_names_in_latin_1() {
        let message = b"To: J\xf6rg <joerg@a.test>, bob\r\nCc: \xc4 <carol>\r\n\r\n";
        assert_eq!(recipients(message).unwrap(), ["joerg@a.test", "bob", "carol"]);
        let author = Author {
            mailbox: &"alice@h.test".parse().unwrap(),
            name: "",
            origin: &"h.test".parse().unwrap(),
        };
        let completed = String::from_utf8(complete(message, &author)).unwrap();
        assert!(
            completed.contains("\r\nTo: Jörg <joerg@a.test>, bob@h.test\r\nCc: Ä <carol@h.test>\r\n"),
            "{completed}"
        );
    }
}
