//! The domain in whose name a message speaks: that of its From field (RFC 5322 §3.4, RFC 9989 §5.3.1).

use crate::mail::address::Domain;
use crate::mail::headers;

/// Mailboxes in From that are looked at.
const MAX_MAILBOXES: usize = 64;

/// Who claims to have written a message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Author {
    /// Somebody in this domain.
    Domain(Domain),
    /// People of several domains.
    Several,
    /// There is not exactly one From field, or it names nobody that can be found.
    Unusable,
}

/// Reads the From field of a header block.
pub fn author(block: &[u8]) -> Author {
    let mut fields = headers::fields(block).filter(|field| field.is("From"));
    let (Some(field), None) = (fields.next(), fields.next()) else {
        return Author::Unusable;
    };
    let Ok(value) = std::str::from_utf8(field.value()) else {
        return Author::Unusable;
    };
    let Some(domains) = bare(value).and_then(|value| domains(&value)) else {
        return Author::Unusable;
    };
    match domains.split_first() {
        Some((first, rest)) if rest.iter().all(|other| other == first) => Author::Domain(first.clone()),
        Some(_) => Author::Several,
        None => Author::Unusable,
    }
}

/// Stands for a quoted string.
const QUOTED: char = '"';

/// The value without comments, and without what is in quotes; `None` if one of them has no end.
fn bare(value: &str) -> Option<String> {
    let mut out = String::with_capacity(value.len());
    let mut chars = value.chars();
    while let Some(c) = chars.next() {
        match c {
            '"' => {
                skip_quoted(&mut chars)?;
                out.push(QUOTED);
            }
            '(' => skip_comment(&mut chars)?,
            ')' => return None,
            c => out.push(c),
        }
    }
    Some(out)
}

fn skip_quoted(chars: &mut std::str::Chars<'_>) -> Option<()> {
    loop {
        match chars.next()? {
            '"' => return Some(()),
            '\\' => drop(chars.next()?),
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

/// The domains of a list of mailboxes and groups; `None` if one of them is no mailbox.
fn domains(list: &str) -> Option<Vec<Domain>> {
    let mut found = Vec::new();
    for item in list.split([',', ';']) {
        // The name of a group.
        let mailbox = item.rsplit_once(':').map_or(item, |(_, mailbox)| mailbox).trim();
        if mailbox.is_empty() {
            continue;
        }
        found.push(domain(mailbox)?);
        if found.len() > MAX_MAILBOXES {
            return None;
        }
    }
    Some(found)
}

fn domain(mailbox: &str) -> Option<Domain> {
    let address = match mailbox.split_once('<') {
        Some((_, address)) => address.strip_suffix('>')?,
        None => mailbox,
    };
    let (local, domain) = address.split_once('@')?;
    let plain = |text: &str| !text.contains(['<', '>', '@']);
    let fits = !local.trim().is_empty() && plain(local) && plain(domain);
    fits.then(|| domain.trim().parse().ok()).flatten()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    fn of(from: &str) -> Author {
        author(format!("To: x@to.test\r\nFrom: {from}\r\n\r\nFrom: body@body.test\r\n").as_bytes())
    }

    #[test]
    fn the_domain_is_that_of_the_address_whatever_stands_around_it() {
        for from in [
            "a@b.test",
            "A B <a@B.TEST>",
            "\"x <e@evil.test>\" <a@b.test>",
            "\"x \\\" <e@evil.test>\" <a@b.test>",
            "(e@evil.test) a@b.test (c (d) \\) e@evil.test)",
            "e@evil.test <a@b.test>",
            "\"quoted, local\"@b.test",
            "A\r\n\t<a@b.test>",
            "=?utf-8?q?e=40evil.test?= <a@b.test>",
            "a@b.test, C <c@b.test>",
            "Group: a@b.test, c@b.test;",
            ", a@b.test ,",
        ] {
            assert_eq!(of(from), Author::Domain("b.test".parse().unwrap()), "{from}");
        }
        assert_eq!(
            of("a@b\u{fc}cher.test"),
            Author::Domain("xn--bcher-kva.test".parse().unwrap())
        );
        assert_eq!(of("a@b.test, c@d.test"), Author::Several);
    }

    #[test]
    fn what_names_nobody_or_could_be_read_in_two_ways_is_unusable() {
        for from in [
            "",
            "nobody",
            "a@b.test>",
            "<a@b.test",
            "<a@b.test> <c@d.test>",
            "<a@b.test>x",
            "a@b.test@c.test",
            "<@r.test:a@b.test>x",
            "a@[192.0.2.1]",
            "@b.test",
            "\"a@b.test",
            "(a@b.test",
            "a@b.test)",
            "a@b..test",
            "undisclosed:;",
            "a b@c.test d",
        ] {
            assert_eq!(of(from), Author::Unusable, "{from}");
        }
        for block in [
            "From: a@b.test\r\nFrom: a@b.test\r\n\r\n",
            "From: a@b.test\r\nfrom : c@d.test\r\n\r\n",
            "To: a@b.test\r\n\r\n",
        ] {
            assert_eq!(author(block.as_bytes()), Author::Unusable, "{block}");
        }
        assert_eq!(author(b"From: \xff@b.test\r\n"), Author::Unusable);
        assert_eq!(of(&"a@b.test,".repeat(100)), Author::Unusable);
    }
}
