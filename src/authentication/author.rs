//! The domain in whose name a message speaks: that of its From field (RFC 5322 §3.4, RFC 9989 §5.3.1).

use crate::mail::address::Domain;
use crate::mail::{headers, mailboxes};

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

/// Reads the From field at the front of a message.
///
/// A header that does not consist of fields names nobody: some programs pass over a line that is no field, and find one more From
/// after it.
pub fn author(message: &[u8]) -> Author {
    let headers::Split { block, rest } = headers::split(message);
    if !(rest.is_empty() || rest.starts_with(b"\r\n")) {
        return Author::Unusable;
    }
    let mut fields = headers::fields(block).filter(|field| field.is("From"));
    let (Some(field), None) = (fields.next(), fields.next()) else {
        return Author::Unusable;
    };
    let Ok(value) = std::str::from_utf8(field.value()) else {
        return Author::Unusable;
    };
    let Some(domains) = domains(value) else {
        return Author::Unusable;
    };
    match domains.split_first() {
        Some((first, rest)) if rest.iter().all(|other| other == first) => Author::Domain(first.clone()),
        Some(_) => Author::Several,
        None => Author::Unusable,
    }
}

/// The domains of a list of mailboxes and groups; `None` if one of them is no mailbox.
fn domains(list: &str) -> Option<Vec<Domain>> {
    let addresses = mailboxes::addresses(list)?;
    addresses
        .iter()
        .map(|address| address.domain.parse().ok())
        .collect()
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
            "a@b.test <a@b.test>",
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
        // Without quotes, a name that is an address may be taken for the author.
        assert_eq!(of("e@evil.test <a@b.test>"), Author::Several);
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
            "e@evil.test: a@b.test;",
            "e@evil.test\0 <a@b.test>",
            "@evil.test <a@b.test>",
            "=?utf-8?q?e@evil.test?= <a@b.test>",
        ] {
            assert_eq!(of(from), Author::Unusable, "{from}");
        }
        for block in [
            "From: a@b.test\r\nFrom: a@b.test\r\n\r\n",
            "From: a@b.test\r\nfrom : c@d.test\r\n\r\n",
            "To: a@b.test\r\n\r\n",
            "From: a@b.test\r\nno field\r\nFrom: e@evil.test\r\n\r\n",
            "From: a@b.test\r\nFr\u{f6}m: e@evil.test\r\n\r\n",
            "From: a@b.test\r\nFrom\u{b}: e@evil.test\r\n\r\n",
            "From: a@b.test\r\n: empty name\r\n\r\n",
            " From: e@evil.test\r\nFrom: a@b.test\r\n\r\n",
            "From: a@b.test\r\nTo: x\r\n \r\nFrom: e@evil.test\r\n\r\n",
        ] {
            assert_eq!(author(block.as_bytes()), Author::Unusable, "{block}");
        }
        assert_eq!(author(b"From: \xff@b.test\r\n"), Author::Unusable);
        assert_eq!(of(&"a@b.test,".repeat(100)), Author::Unusable);
    }
}
