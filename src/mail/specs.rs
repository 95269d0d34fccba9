//! The addresses in a field or argument as programs of this host write them: also names without a domain, such as
//! `root (Cron Daemon)`.
//!
//! [`mailboxes`](super::mailboxes) reads what came from elsewhere, where a name alone is nobody.

/// Addresses in a list that are looked at.
const MOST: usize = 10_000;

/// An address as it is written, without the name and comments around it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Spec {
    /// `local-part@domain`, or a local-part alone.
    pub text: String,
    /// The octet of the list behind it: where its domain belongs if it has none.
    pub end: usize,
}

impl Spec {
    /// Whether it names a domain: it has an `@` that is not within quotes.
    pub fn has_domain(&self) -> bool {
        let mut quoted = false;
        let mut escaped = false;
        self.text.chars().any(|c| {
            let is_at = c == '@' && !quoted;
            quoted ^= c == '"' && !escaped;
            escaped = c == '\\' && !escaped;
            is_at
        })
    }
}

/// The addresses of a list, in order; `None` if it is not one, could be read in two ways, or is very long.
pub fn specs(list: &str) -> Option<Vec<Spec>> {
    let mut reader = Reader {
        list,
        at: 0,
        item: Item::default(),
        found: Vec::new(),
    };
    while let Some(c) = reader.peek() {
        reader.take(c)?;
    }
    reader.end_item()?;
    Some(reader.found)
}

/// What was read of one mailbox.
#[derive(Default)]
struct Item {
    /// Words outside brackets, each with its end.
    words: Vec<Spec>,
    /// The last word may go on.
    open: bool,
    bracketed: Option<Spec>,
}

struct Reader<'a> {
    list: &'a str,
    at: usize,
    item: Item,
    found: Vec<Spec>,
}

impl Reader<'_> {
    fn peek(&self) -> Option<char> {
        self.list.get(self.at..)?.chars().next()
    }

    fn next(&mut self) -> Option<char> {
        let c = self.peek()?;
        self.at += c.len_utf8();
        Some(c)
    }

    fn take(&mut self, c: char) -> Option<()> {
        match c {
            '(' => self.skip_comment()?,
            '<' => self.bracketed()?,
            '"' => {
                let text = self.quoted()?;
                self.extend(&text);
            }
            ',' | ';' => {
                self.next();
                self.end_item()?;
            }
            // What stood before it names a group.
            ':' => {
                self.next();
                let has_address = self.item.words.iter().any(Spec::has_domain);
                if has_address || self.item.bracketed.is_some() {
                    return None;
                }
                self.item = Item::default();
            }
            ')' | '>' | '\\' => return None,
            c if c.is_whitespace() => {
                self.next();
                self.item.open = false;
            }
            c if c.is_control() => return None,
            c => {
                self.next();
                self.extend(c.encode_utf8(&mut [0; 4]));
            }
        }
        Some(())
    }

    /// More of the word that is open, or the start of another one. The octets have been taken.
    fn extend(&mut self, text: &str) {
        let end = self.at;
        match self.item.words.last_mut() {
            Some(word) if self.item.open => {
                word.text.push_str(text);
                word.end = end;
            }
            _ => self.item.words.push(Spec {
                text: text.to_owned(),
                end,
            }),
        }
        self.item.open = true;
    }

    fn skip_comment(&mut self) -> Option<()> {
        self.item.open = false;
        let mut depth = 0u32;
        loop {
            match self.next()? {
                '(' => depth += 1,
                ')' => depth -= 1,
                '\\' => drop(self.next()?),
                _ => {}
            }
            if depth == 0 {
                return Some(());
            }
        }
    }

    fn quoted(&mut self) -> Option<String> {
        let mut text = String::new();
        loop {
            let c = self.next()?;
            let is_end = c == '"' && !text.is_empty();
            text.push(c);
            match c {
                _ if is_end => return Some(text),
                '\\' => text.push(self.next()?),
                c if c.is_control() && c != '\t' => return None,
                _ => {}
            }
        }
    }

    /// What stands in brackets; a route before it is dropped (RFC 5322 §4.4).
    fn bracketed(&mut self) -> Option<()> {
        self.next();
        if self.item.bracketed.is_some() {
            return None;
        }
        let mut text = String::new();
        let mut end = self.at;
        loop {
            match self.peek()? {
                '"' => text.push_str(&self.quoted()?),
                '(' => {
                    self.skip_comment()?;
                    continue;
                }
                '>' => break,
                '<' | '\\' | ')' => return None,
                ':' if text.starts_with('@') => {
                    self.next();
                    text.clear();
                }
                c if c.is_whitespace() => {
                    self.next();
                    continue;
                }
                c if c.is_control() => return None,
                c => {
                    self.next();
                    text.push(c);
                }
            }
            end = self.at;
        }
        self.next();
        self.item.open = false;
        self.item.bracketed = Some(Spec { text, end });
        Some(())
    }

    /// A name before brackets may be several words; an address without them is one.
    fn end_item(&mut self) -> Option<()> {
        let item = std::mem::take(&mut self.item);
        let mut words = item.words.into_iter();
        let spec = match (item.bracketed, words.next()) {
            (Some(spec), _) => Some(spec),
            (None, first) if words.next().is_none() => first,
            _ => return None,
        };
        self.found.extend(spec.filter(|spec| !spec.text.is_empty()));
        (self.found.len() <= MOST).then_some(())
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    fn texts(list: &str) -> Option<Vec<String>> {
        Some(specs(list)?.into_iter().map(|spec| spec.text).collect())
    }

    #[test]
    fn names_and_addresses_are_found_whatever_stands_around_them() {
        for (list, found) in [
            ("root (Cron Daemon)", vec!["root"]),
            (
                "root,alice ,\r\n\tbob@b.test",
                vec!["root", "alice", "bob@b.test"],
            ),
            ("Bob the \"B, b\" <bob>", vec!["bob"]),
            ("<@relay.test,@x.test:bob@b.test> (x)", vec!["bob@b.test"]),
            ("\"a, b\"@c.test", vec!["\"a, b\"@c.test"]),
            ("\"a \\\" @ b\"", vec!["\"a \\\" @ b\""]),
            (
                "friends: bob, <carol@c.test>;, pat",
                vec!["bob", "carol@c.test", "pat"],
            ),
            ("undisclosed-recipients:;", vec![]),
            ("<>", vec![]),
            ("", vec![]),
            ("jörg@b.test", vec!["jörg@b.test"]),
        ] {
            let found: Vec<String> = found.into_iter().map(String::from).collect();
            assert_eq!(texts(list), Some(found), "{list}");
        }
    }

    #[test]
    fn what_could_be_read_in_two_ways_is_not_read() {
        for list in [
            "a b",
            "a@b.test c@d.test",
            "<a> <b>",
            "\"a",
            "a (b",
            "a)",
            "a>",
            "<a",
            "a\\b",
            "a@b.test: c",
            "a\0",
            "<a\u{7}b>",
        ] {
            assert_eq!(texts(list), None, "{list}");
        }
        assert_eq!(texts(&"a,".repeat(MOST + 1)), None);
    }

    #[test]
    fn a_domain_belongs_behind_the_name() {
        for (list, whole) in [
            ("root (Cron Daemon)", "root@h.test (Cron Daemon)"),
            ("Bob <bob>, b@b.test", "Bob <bob@h.test>, b@b.test"),
            ("\"a@b\" (c)", "\"a@b\"@h.test (c)"),
            ("< bob (x) >", "< bob@h.test (x) >"),
        ] {
            let mut text = list.to_owned();
            for spec in specs(list)
                .unwrap()
                .iter()
                .rev()
                .filter(|spec| !spec.has_domain())
            {
                text.insert_str(spec.end, "@h.test");
            }
            assert_eq!(text, whole);
        }
    }
}
