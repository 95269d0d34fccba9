//! A message that a program of this host left in the drop folder: its envelope, then its octets as the program wrote them.
//!
//! ```text
//! dimed 1 SIZE         version, and octets of the message, in decimal
//! sender: NAME         an address, a name of this host, or nothing for the null reverse-path
//! name: TEXT           the sender's full name, if there is one
//! ret: RET             envid: XTEXT, notify: LIST: as in MAIL and RCPT (RFC 3461), if asked for
//! recipient: NAME      one or more
//! (an empty line)
//! ```
//!
//! Lines end in LF. What the message lacks is added by whoever picks it up.

use super::notify::{EnvelopeId, MessageRequest, Notify, Ret};

/// Octets of an envelope at most.
pub const MAX_ENVELOPE: usize = 1 << 20;
/// Recipients at most, as they are named, before aliases are followed.
pub const MAX_RECIPIENTS: usize = 1000;

const MAGIC: &str = "dimed ";
const VERSION: &str = "1";

/// An envelope.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Dropped {
    /// An address, a name of this host, or nothing for the null reverse-path.
    pub sender: String,
    /// The sender's full name; may be empty.
    pub name: String,
    /// Addresses and names of this host.
    pub recipients: Vec<String>,
    /// What the sender wants to be told, of the message.
    pub request: MessageRequest,
    /// And of each recipient.
    pub notify: Notify,
}

/// Why octets are no envelope.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// Another program's file.
    #[error("no message that sendmail left")]
    Foreign,
    /// A version that came later.
    #[error("left by another version of sendmail")]
    Version,
    /// The envelope cannot be read.
    #[error("a damaged envelope")]
    Damaged,
}

impl Dropped {
    /// The envelope for a message of so many octets. `None` if it is too long, or a value has a control character.
    pub fn encode(&self, size: usize) -> Option<Vec<u8>> {
        let mut lines = vec![("sender", self.sender.clone())];
        if !self.name.is_empty() {
            lines.push(("name", self.name.clone()));
        }
        lines.extend(self.request.ret.map(|ret| ("ret", ret.as_str().to_owned())));
        let envelope_id = self.request.envelope_id.as_ref();
        lines.extend(envelope_id.map(|id| ("envid", id.to_value())));
        lines.extend(self.notify.to_value().map(|value| ("notify", value)));
        lines.extend(self.recipients.iter().map(|name| ("recipient", name.clone())));
        if lines.iter().any(|(_, value)| value.chars().any(char::is_control)) {
            return None;
        }
        let mut text = format!("{MAGIC}{VERSION} {size}\n");
        text.extend(lines.iter().map(|(key, value)| format!("{key}: {value}\n")));
        text.push('\n');
        let fits = text.len() <= MAX_ENVELOPE && (1..=MAX_RECIPIENTS).contains(&self.recipients.len());
        fits.then(|| text.into_bytes())
    }

    /// Reads the envelope at the front of a file; also where the message starts, and its octets.
    pub fn decode(front: &[u8]) -> Result<(Self, usize, u64), Error> {
        if !front.starts_with(MAGIC.as_bytes()) {
            return Err(Error::Foreign);
        }
        let end = memchr::memmem::find(front, b"\n\n");
        let envelope = end.and_then(|end| std::str::from_utf8(front.get(..end)?).ok());
        let first = front.split(|octet| *octet == b'\n').next().unwrap_or_default();
        let mut words = first.split(|octet| *octet == b' ').skip(1);
        if words.next() != Some(VERSION.as_bytes()) {
            return Err(Error::Version);
        }
        let size = words
            .next()
            .and_then(|size| std::str::from_utf8(size).ok()?.parse().ok());
        let (Some(envelope), Some(end), Some(size), None) = (envelope, end, size, words.next()) else {
            return Err(Error::Damaged);
        };
        let read = Self::read(envelope.lines().skip(1)).ok_or(Error::Damaged)?;
        Ok((read, end + 2, size))
    }

    fn read<'a>(lines: impl Iterator<Item = &'a str>) -> Option<Self> {
        let mut sender = None;
        let mut read = Self {
            sender: String::new(),
            name: String::new(),
            recipients: Vec::new(),
            request: MessageRequest::default(),
            notify: Notify::default(),
        };
        for line in lines {
            let (key, value) = line.split_once(": ")?;
            match key {
                "sender" if sender.is_none() => sender = Some(value.to_owned()),
                "name" => read.name = value.to_owned(),
                "ret" => read.request.ret = Some(Ret::parse(value)?),
                "envid" => read.request.envelope_id = Some(EnvelopeId::parse(value)?),
                "notify" => read.notify = Notify::parse(value)?,
                "recipient" => read.recipients.push(value.to_owned()),
                _ => return None,
            }
        }
        read.sender = sender?;
        let has_some = (1..=MAX_RECIPIENTS).contains(&read.recipients.len());
        let is_clean = !read.name.chars().any(char::is_control);
        (has_some && is_clean).then_some(read)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    fn dropped() -> Dropped {
        Dropped {
            sender: "alice".into(),
            name: "Ålice: A".into(),
            recipients: vec!["root".into(), "bob@b.test".into()],
            request: MessageRequest {
                ret: Some(Ret::Headers),
                envelope_id: EnvelopeId::parse("a+2Bb"),
            },
            notify: Notify::parse("SUCCESS,FAILURE").unwrap(),
        }
    }

    #[test]
    fn an_envelope_is_read_back() {
        let octets = dropped().encode(6).unwrap();
        let text = String::from_utf8(octets.clone()).unwrap();
        assert_eq!(
            text,
            "dimed 1 6\nsender: alice\nname: Ålice: A\nret: HDRS\nenvid: a+2Bb\nnotify: SUCCESS,FAILURE\n\
             recipient: root\nrecipient: bob@b.test\n\n"
        );
        let whole = [&octets[..], b"hello\n"].concat();
        assert_eq!(Dropped::decode(&whole), Ok((dropped(), octets.len(), 6)));
        let null = Dropped {
            sender: String::new(),
            name: String::new(),
            request: MessageRequest::default(),
            notify: Notify::default(),
            ..dropped()
        };
        let octets = null.encode(0).unwrap();
        assert_eq!(Dropped::decode(&octets), Ok((null, octets.len(), 0)));
    }

    #[test]
    fn no_value_becomes_another_line() {
        let changes: [fn(&mut Dropped); 6] = [
            |dropped| dropped.sender = "a\nrecipient: b".into(),
            |dropped| dropped.name = "a\r".into(),
            |dropped| dropped.recipients.push("a\0".into()),
            |dropped| dropped.recipients.clear(),
            |dropped| dropped.recipients = vec!["a".into(); MAX_RECIPIENTS + 1],
            |dropped| dropped.sender = "a".repeat(MAX_ENVELOPE),
        ];
        for change in changes {
            let mut changed = dropped();
            change(&mut changed);
            assert_eq!(changed.encode(1), None);
        }
    }

    #[test]
    fn anything_else_is_refused() {
        for (front, error) in [
            ("", Error::Foreign),
            ("From: x\n\n", Error::Foreign),
            ("dimed 2 5\nanything\n\n", Error::Version),
            ("dimed 1 5\nsender: a\nrecipient: b\n", Error::Damaged),
            ("dimed 1 x\nsender: a\nrecipient: b\n\n", Error::Damaged),
            ("dimed 1 5 6\nsender: a\nrecipient: b\n\n", Error::Damaged),
            ("dimed 1 5\nrecipient: b\n\n", Error::Damaged),
            ("dimed 1 5\nsender: a\n\n", Error::Damaged),
            (
                "dimed 1 5\nsender: a\nsender: c\nrecipient: b\n\n",
                Error::Damaged,
            ),
            (
                "dimed 1 5\nsender: a\nrecipient: b\nnotify: x\n\n",
                Error::Damaged,
            ),
            ("dimed 1 5\nsender: a\nrecipient: b\nother: x\n\n", Error::Damaged),
        ] {
            assert_eq!(Dropped::decode(front.as_bytes()), Err(error), "{front:?}");
        }
    }

    proptest::proptest! {
        #[test]
        fn any_octets_are_read_without_panic(octets in proptest::collection::vec(0u8.., 0..200)) {
            let _ = Dropped::decode(&[b"dimed 1 ", &octets[..]].concat());
            let _ = Dropped::decode(&octets);
        }
    }
}
