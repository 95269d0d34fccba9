//! Common headers, chunk 33 (`dmime.md` §12.2).
//!
//! Lines `label: value` CRLF. Written in the order Date, To, CC, From, Organization, Subject; read in any order.
//! Values are opaque octets without CR and LF.

use std::fmt;

/// The labels in the order they are written.
pub(crate) const LABELS: [&str; 6] = ["Date", "To", "CC", "From", "Organization", "Subject"];

/// The six header fields of chunk 33, each value as octets without CR or LF.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct CommonHeaders {
    /// When it was written.
    pub date: Vec<u8>,
    /// To whom.
    pub to: Vec<u8>,
    /// To whom else.
    pub cc: Option<Vec<u8>>,
    /// Who says to have written it; trust the envelope's author instead.
    pub from_header: Vec<u8>,
    /// The writer's organization.
    pub organization: Option<Vec<u8>>,
    /// What it is about.
    pub subject: Vec<u8>,
}

/// What a common headers chunk must not look like.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A line without one of the six labels, or without CRLF at its end.
    #[error("a line of the common headers is not `label: value`")]
    Line,
    /// A label that stands twice.
    #[error("{0} stands twice in the common headers")]
    Repeated(&'static str),
    /// A label that must stand and does not.
    #[error("{0} is missing in the common headers")]
    Missing(&'static str),
    /// A CR or LF inside a value.
    #[error("the value of {0} contains a line end")]
    LineEnd(&'static str),
}

impl Error {
    /// The label that it is about, if that can be said.
    pub fn label(self) -> Option<&'static str> {
        match self {
            Self::Line => None,
            Self::Repeated(label) | Self::Missing(label) | Self::LineEnd(label) => Some(label),
        }
    }
}

impl CommonHeaders {
    /// The lines in their order; refuses values that contain CR or LF.
    pub fn encode(&self) -> Result<Vec<u8>, Error> {
        let mut out = Vec::new();
        for (label, value) in LABELS.into_iter().zip(self.values()) {
            let Some(value) = value else { continue };
            if value.iter().any(|octet| matches!(octet, b'\r' | b'\n')) {
                return Err(Error::LineEnd(label));
            }
            for part in [label.as_bytes(), b": ", value, b"\r\n"] {
                out.extend_from_slice(part);
            }
        }
        Ok(out)
    }

    /// Reads lines in any order; each label at most once, Date, To, From and Subject at least once.
    pub fn decode(mut data: &[u8]) -> Result<Self, Error> {
        let mut values: [Option<Vec<u8>>; 6] = Default::default();
        while !data.is_empty() {
            let end = data
                .windows(2)
                .position(|pair| pair == b"\r\n")
                .ok_or(Error::Line)?;
            let (place, value) = labelled(&data[..end]).ok_or(Error::Line)?;
            if value.iter().any(|octet| matches!(octet, b'\r' | b'\n')) {
                return Err(Error::LineEnd(LABELS[place]));
            }
            if values[place].replace(value.to_vec()).is_some() {
                return Err(Error::Repeated(LABELS[place]));
            }
            data = &data[end + 2..];
        }
        let [date, to, cc, from_header, organization, subject] = values;
        Ok(Self {
            date: date.ok_or(Error::Missing("Date"))?,
            to: to.ok_or(Error::Missing("To"))?,
            cc,
            from_header: from_header.ok_or(Error::Missing("From"))?,
            organization,
            subject: subject.ok_or(Error::Missing("Subject"))?,
        })
    }

    fn values(&self) -> [Option<&[u8]>; 6] {
        [
            Some(&self.date),
            Some(&self.to),
            self.cc.as_deref(),
            Some(&self.from_header),
            self.organization.as_deref(),
            Some(&self.subject),
        ]
    }
}

/// Shows no header.
impl fmt::Debug for CommonHeaders {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("CommonHeaders([private])")
    }
}

/// The place of a line's label in [`LABELS`], and its value.
pub(crate) fn labelled(line: &[u8]) -> Option<(usize, &[u8])> {
    LABELS.iter().enumerate().find_map(|(place, label)| {
        let value = line.strip_prefix(label.as_bytes())?.strip_prefix(b": ")?;
        Some((place, value))
    })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use proptest::prelude::*;

    use super::*;

    fn example() -> CommonHeaders {
        CommonHeaders {
            date: b"12 minutes ago".to_vec(),
            to: b"Ryan <ryan@lavabit.com>".to_vec(),
            cc: None,
            from_header: b"Ivan <ivan@darkmail.info>".to_vec(),
            organization: Some(b"Lavabit".to_vec()),
            subject: b"Mr.Watson - Come here - I want to see you".to_vec(),
        }
    }

    #[test]
    fn writes_the_example_of_the_chapter() {
        let expected = "Date: 12 minutes ago\r\nTo: Ryan <ryan@lavabit.com>\r\nFrom: Ivan <ivan@darkmail.info>\r\n\
                        Organization: Lavabit\r\nSubject: Mr.Watson - Come here - I want to see you\r\n";
        assert_eq!(example().encode().unwrap(), expected.as_bytes());
        assert_eq!(expected.len(), 159);
        assert_eq!(CommonHeaders::decode(expected.as_bytes()), Ok(example()));
    }

    #[test]
    fn reads_any_order_and_empty_values() {
        let text = b"Subject: \r\nFrom: a\r\nTo: \r\nDate: d\r\n";
        let headers = CommonHeaders::decode(text).unwrap();
        assert_eq!((&headers.subject[..], &headers.date[..]), (&b""[..], &b"d"[..]));
    }

    #[test]
    fn refuses_what_is_missing_repeated_unknown_or_broken() {
        let good = "Date: d\r\nTo: t\r\nFrom: f\r\nSubject: s\r\n";
        for (from, to, error) in [
            ("Date: d\r\n", "", Error::Missing("Date")),
            ("To: t\r\n", "", Error::Missing("To")),
            ("From: f\r\n", "", Error::Missing("From")),
            ("Subject: s\r\n", "", Error::Missing("Subject")),
            ("To: t\r\n", "To: t\r\nTo: t\r\n", Error::Repeated("To")),
            ("To: t", "to: t", Error::Line),
            ("To: t", "To:t", Error::Line),
            ("To: t\r\n", "To: t\r\nCc: c\r\n", Error::Line),
            ("To: t", "To: t\nX", Error::LineEnd("To")),
            ("To: t", "To: t\rX", Error::LineEnd("To")),
            ("Subject: s\r\n", "Subject: s\r", Error::Line),
            ("Subject: s\r\n", "Subject: s\n", Error::Line),
        ] {
            let bad = good.replacen(from, to, 1);
            assert_eq!(CommonHeaders::decode(bad.as_bytes()), Err(error), "{bad:?}");
        }
    }

    #[test]
    fn refuses_to_write_line_ends() {
        for end in [&b"a\rb"[..], b"a\nb"] {
            let headers = CommonHeaders {
                cc: Some(end.to_vec()),
                ..example()
            };
            assert_eq!(headers.encode(), Err(Error::LineEnd("CC")));
        }
    }

    proptest! {
        #[test]
        fn decoding_inverts_encoding(date: Vec<u8>, to: Vec<u8>, cc: Option<Vec<u8>>, subject: Vec<u8>) {
            let headers = CommonHeaders { date, to, cc, subject, ..example() };
            if let Ok(data) = headers.encode() {
                prop_assert_eq!(CommonHeaders::decode(&data), Ok(headers));
            }
        }

        #[test]
        fn arbitrary_octets_never_panic(data: Vec<u8>) {
            let _ = CommonHeaders::decode(&data);
        }
    }
}
