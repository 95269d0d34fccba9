//! The addresses in a field that lists mailboxes (RFC 5322 §3.4), as far as a mail host needs them: without names,
//! comments, groups and routes.

use super::address::Mailbox;
use super::headers;

/// Mailboxes in a field that are looked at.
const MAX_MAILBOXES: usize = 64;

/// An address as it is written: what stands before and after the `@`, without comments.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AddrSpec {
    /// A dot-string or quoted string, unless it is neither.
    pub local: String,
    /// A domain, unless it is none.
    pub domain: String,
}

impl AddrSpec {
    /// The mailbox, if it is one.
    pub fn mailbox(&self) -> Option<Mailbox> {
        Mailbox::parse(&format!("{}@{}", self.local, self.domain)).ok()
    }
}

/// The addresses of a list, in order; `None` if it is not one, could be read in two ways, or is very long.
pub fn addresses(list: &str) -> Option<Vec<AddrSpec>> {
    let Bare { text, quoted } = bare(list)?;
    let mut found = Vec::new();
    for item in text.split([',', ';']) {
        let mailbox = match item.split_once(':') {
            Some((group, _)) if group.contains(['@', '<', '>']) => return None,
            Some((_, mailbox)) => mailbox.trim(),
            None => item.trim(),
        };
        if mailbox.is_empty() {
            continue;
        }
        found.extend(named(mailbox, &quoted)?);
        if found.len() > MAX_MAILBOXES {
            return None;
        }
    }
    Some(found)
}

/// A field that says who wrote or sent a message, and cannot be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the field {0} does not name mailboxes that can be read")]
pub struct Unreadable(pub &'static str);

/// The fields that say who wrote or sent a message, and who sent it once more.
const ORIGINATOR_FIELDS: [&str; 4] = ["From", "Sender", "Resent-From", "Resent-Sender"];

/// Everybody whom a header block names as an author or as the sender (RFC 5322 §3.6.2 and §3.6.6).
///
/// Errors: [`Unreadable`] if one of these fields cannot be read, or names nobody.
pub fn originators(block: &[u8]) -> Result<Vec<Mailbox>, Unreadable> {
    let mut all = Vec::new();
    for name in ORIGINATOR_FIELDS {
        for field in headers::fields(block).filter(|field| field.is(name)) {
            let value = std::str::from_utf8(field.value()).map_err(|_| Unreadable(name))?;
            let list = addresses(value).filter(|list| !list.is_empty());
            let mailboxes =
                list.and_then(|list| list.iter().map(AddrSpec::mailbox).collect::<Option<Vec<_>>>());
            all.extend(mailboxes.ok_or(Unreadable(name))?);
        }
    }
    Ok(all)
}

/// A list without comments, in which each quoted string is its number in quotes.
struct Bare {
    text: String,
    quoted: Vec<String>,
}

/// `None` if a comment or quoted string has no end, or at characters that have no place in a list: some programs end a value
/// at a control character, and some take a backslash outside quotes for an escape.
fn bare(value: &str) -> Option<Bare> {
    if value.contains(|c: char| c.is_control() && !matches!(c, '\t' | '\r' | '\n')) {
        return None;
    }
    let mut bare = Bare {
        text: String::with_capacity(value.len()),
        quoted: Vec::new(),
    };
    let mut chars = value.chars();
    while let Some(c) = chars.next() {
        match c {
            '"' => {
                bare.text.push_str(&format!("\"{}\"", bare.quoted.len()));
                bare.quoted.push(quoted(&mut chars)?);
            }
            '(' => skip_comment(&mut chars)?,
            ')' | '\\' => return None,
            c => bare.text.push(c),
        }
    }
    Some(bare)
}

/// A quoted string whose first quote is taken, with both.
fn quoted(chars: &mut std::str::Chars<'_>) -> Option<String> {
    let mut text = String::from('"');
    loop {
        let c = chars.next()?;
        text.push(c);
        match c {
            '"' => return Some(text),
            '\\' => text.push(chars.next()?),
            _ => {}
        }
    }
}

fn skip_comment(chars: &mut std::str::Chars<'_>) -> Option<()> {
    let mut depth = 1u32;
    while depth > 0 {
        match chars.next()? {
            '(' => depth = depth.checked_add(1)?,
            ')' => depth -= 1,
            '\\' => drop(chars.next()?),
            _ => {}
        }
    }
    Some(())
}

/// The address of a mailbox with or without a name. A name that has an `@` outside quotes (RFC 5322 §3.2.5 forbids it) is one
/// more address: some programs take it for the author. They do not where it is a word of its own, as in `John @ Example`, and
/// no domain with a dot follows.
fn named(mailbox: &str, quoted: &[String]) -> Option<Vec<AddrSpec>> {
    let Some((name, rest)) = mailbox.split_once('<') else {
        return Some(vec![address(mailbox, quoted)?]);
    };
    if name.contains('>') {
        return None;
    }
    let mut found = Vec::new();
    if name.contains('@') && !says_where(name) {
        found.push(address(name, quoted)?);
    }
    found.push(address(rest.strip_suffix('>')?, quoted)?);
    Some(found)
}

/// Whether every `@` in a name stands for the word, before no name of a domain.
fn says_where(name: &str) -> bool {
    let words: Vec<&str> = name.split_whitespace().collect();
    let is_word = |place: usize| {
        let next = words.get(place + 1);
        words[place] == "@" && next.is_none_or(|next| !next.contains('.'))
    };
    let has_at = |place: &usize| words[*place].contains('@');
    (0..words.len()).filter(has_at).all(is_word)
}

/// Encoded words have no place in an address (RFC 2047 §5), and programs that decode them there show another one.
fn address(text: &str, quoted: &[String]) -> Option<AddrSpec> {
    let (local, domain) = text.split_once('@')?;
    let plain = |text: &str| !text.contains(['<', '>', '@', ':']) && !text.contains("=?");
    let (local, domain) = (local.trim(), domain.trim());
    let fits = !local.is_empty() && plain(local) && plain(domain);
    fits.then(|| AddrSpec {
        local: spelled(local, quoted),
        domain: domain.to_owned(),
    })
}

/// A local-part with its quoted string in place of the number.
fn spelled(local: &str, quoted: &[String]) -> String {
    let number = local.strip_prefix('"').and_then(|local| local.strip_suffix('"'));
    let number = number.and_then(|number| number.parse::<usize>().ok());
    let text = number.and_then(|number| quoted.get(number));
    text.map_or(local, String::as_str).to_owned()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    fn of(list: &str) -> Option<Vec<String>> {
        let mailbox = |address: &AddrSpec| address.mailbox().map(|mailbox| mailbox.to_string());
        addresses(list)?.iter().map(mailbox).collect()
    }

    #[test]
    fn addresses_are_found_whatever_stands_around_them() {
        for (list, found) in [
            ("a@b.test", vec!["a@b.test"]),
            ("\"x, <e@evil.test>\" <a@B.TEST>", vec!["a@b.test"]),
            ("(e@evil.test) a@b.test (c (d))", vec!["a@b.test"]),
            ("=?utf-8?q?e=40evil.test?= <a@b.test>", vec!["a@b.test"]),
            (
                "A\r\n\t<a@b.test>,\r\n C <c@d.test>",
                vec!["a@b.test", "c@d.test"],
            ),
            ("Group: a@b.test, \"c\" <c@d.test>;", vec!["a@b.test", "c@d.test"]),
            ("\"one\" <\"b, \\\"c\"@d.test>", vec!["\"b, \\\"c\"@d.test"]),
            ("undisclosed:;", vec![]),
            ("\"John @ Example\" <a@b.test>", vec!["a@b.test"]),
            ("\"ceo@bank.test\" <a@b.test>", vec!["a@b.test"]),
            ("John @ Example <a@b.test>", vec!["a@b.test"]),
            ("ceo @ bank.test <a@b.test>", vec!["ceo@bank.test", "a@b.test"]),
            ("ceo@bank.test <a@b.test>", vec!["ceo@bank.test", "a@b.test"]),
            ("a@b.test (c) <a@b.test>", vec!["a@b.test", "a@b.test"]),
            (
                "\"c d\"@bank.test <a@b.test>, x@y.test",
                vec!["\"c d\"@bank.test", "a@b.test", "x@y.test"],
            ),
        ] {
            let found: Vec<String> = found.into_iter().map(String::from).collect();
            assert_eq!(of(list), Some(found), "{list}");
        }
    }

    #[test]
    fn what_could_be_read_in_two_ways_is_not_read() {
        for list in [
            "nobody",
            "<a@b.test> <c@d.test>",
            "<a@b.test>x",
            "a@b.test@c.test",
            "\"a@b.test",
            "a@b.test)",
            "a b@c.test",
            "\"0\" \"1\"@c.test",
            "e@evil.test: a@b.test;",
            "<e@evil.test>: a@b.test;",
            "G: H: a@b.test;",
            "e@evil.test> <a@b.test>",
            "\\\"e@evil.test\" <a@b.test>",
            "e@evil.test\0 <a@b.test>",
            "e@evil.test\u{b} <a@b.test>",
            "e@evil.test\u{85} <a@b.test>",
            "=?utf-8?q?e=40evil.test=00?=@b.test",
            "E <=?utf-8?q?e=40evil.test=00?=@b.test>",
            "a@[192.0.2.1]",
            "@bank.test <a@b.test>",
            "The ceo@bank.test <a@b.test>",
            "ceo@bank.test \"A\" <a@b.test>",
            "ceo@bank.test a@b.test <a@b.test>",
            "=?utf-8?q?ceo@bank.test?= <a@b.test>",
        ] {
            assert_eq!(of(list), None, "{list}");
        }
        assert_eq!(of(&"a@b.test,".repeat(65)), None);
    }

    #[test]
    fn authors_and_sender_are_all_named() {
        let block =
            b"From: a@b.test, c@d.test\r\nSender : e@f.test\r\nReply-To: x@x.test\r\n\r\nFrom: y@y.test\r\n";
        let named: Vec<_> = originators(block)
            .unwrap()
            .iter()
            .map(Mailbox::to_string)
            .collect();
        assert_eq!(named, ["a@b.test", "c@d.test", "e@f.test"]);
        assert_eq!(originators(b"From: undisclosed:;\r\n"), Err(Unreadable("From")));
        let sender = b"From: a@b.test\r\nSender: a@b.test\r\nsender: who\r\n";
        assert_eq!(originators(sender), Err(Unreadable("Sender")));
        let resent = b"From: a@b.test\r\nResent-Sender: who\r\n";
        assert_eq!(originators(resent), Err(Unreadable("Resent-Sender")));
    }

    #[test]
    fn whoever_sent_it_once_more_is_named_too() {
        let block = b"Resent-From: c@d.test\r\nresent-sender: e@f.test\r\nFrom: a@b.test\r\n\r\n";
        let named: Vec<_> = originators(block)
            .unwrap()
            .iter()
            .map(Mailbox::to_string)
            .collect();
        assert_eq!(named, ["a@b.test", "c@d.test", "e@f.test"]);
    }
}
