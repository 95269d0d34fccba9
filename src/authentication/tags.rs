//! Lists of tags (RFC 6376 §3.2): signatures, key records, DMARC records.

/// Tags read at most; no list that means anything has as many.
const MAX_TAGS: usize = 64;

/// Text that is no list of tags.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NotTags;

/// Without folding white space at either end. Other blanks of Unicode are part of the text.
pub fn trimmed(text: &str) -> &str {
    text.trim_matches([' ', '\t', '\r', '\n'])
}

/// The tags of a list, in order, each name once.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tags<'a>(Vec<(&'a str, &'a str)>);

impl<'a> Tags<'a> {
    /// Reads a list. White space around names and values does not count; names are told apart by case.
    pub fn parse(text: &'a str) -> Result<Self, NotTags> {
        let mut tags: Vec<(&str, &str)> = Vec::new();
        let mut parts = text.split(';').peekable();
        while let Some(part) = parts.next() {
            if trimmed(part).is_empty() && parts.peek().is_none() {
                break;
            }
            let (name, value) = part.split_once('=').ok_or(NotTags)?;
            let name = trimmed(name);
            if !is_name(name) || tags.iter().any(|(other, _)| *other == name) || tags.len() == MAX_TAGS {
                return Err(NotTags);
            }
            tags.push((name, trimmed(value)));
        }
        Ok(Self(tags))
    }

    /// As [`parse`](Self::parse), but passes over what is no tag, and over tags that were there before (RFC 9989: what is
    /// wrong in a record does not count).
    pub fn parse_tolerantly(text: &'a str) -> Self {
        let mut tags: Vec<(&str, &str)> = Vec::new();
        for (name, value) in text.split(';').filter_map(|part| part.split_once('=')) {
            let name = trimmed(name);
            if is_name(name) && tags.iter().all(|(other, _)| *other != name) && tags.len() < MAX_TAGS {
                tags.push((name, trimmed(value)));
            }
        }
        Self(tags)
    }

    /// The value of a tag.
    pub fn value(&self, name: &str) -> Option<&'a str> {
        let found = self.0.iter().find(|(other, _)| *other == name);
        found.map(|(_, value)| *value)
    }

    /// The first tag.
    pub fn first(&self) -> Option<(&'a str, &'a str)> {
        self.0.first().copied()
    }
}

fn is_name(name: &str) -> bool {
    name.starts_with(|c: char| c.is_ascii_alphabetic())
        && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_')
}

/// A value without its folds, as base64 has them.
pub fn without_space(value: &str) -> String {
    value.chars().filter(|c| !c.is_ascii_whitespace()).collect()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn tags_are_read_through_folds_and_each_stands_once() {
        let tags = Tags::parse(" v = 1;\r\n\ta=rsa-sha256 ; b=a\r\n b=; ").unwrap();
        assert_eq!(tags.first(), Some(("v", "1")));
        assert_eq!(tags.value("a"), Some("rsa-sha256"));
        assert_eq!(tags.value("b").map(without_space), Some("ab=".into()));
        assert_eq!(tags.value("A"), None);
        assert_eq!(
            Tags::parse("d=\u{a0}a.test").unwrap().value("d"),
            Some("\u{a0}a.test")
        );
        for text in [
            "v=1; v=1",
            "v",
            "=1",
            "v=1;;a=2",
            "1v=1",
            "v=1; b c=2",
            "v=1;\u{a0}b=2",
        ] {
            assert_eq!(Tags::parse(text), Err(NotTags), "{text}");
        }
        assert!(Tags::parse(&"a".repeat(9)).is_err());
        let many: String = (0..65).map(|n| format!("t{n}=;")).collect();
        assert_eq!(Tags::parse(&many), Err(NotTags));
    }

    #[test]
    fn what_is_wrong_in_a_record_does_not_count() {
        let tags = Tags::parse_tolerantly("v=DMARC1; p=none; ; p=reject; junk; sp=quarantine");
        assert_eq!(tags.value("p"), Some("none"));
        assert_eq!(tags.value("sp"), Some("quarantine"));
    }
}
