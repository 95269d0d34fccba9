//! The header block of a message, as filters see and change it.

use super::Error;
use super::change::{FieldChange, Place};
use crate::mail::headers;

/// Octets of a header block at most, once filters have changed it. Above what may come in, and below what can be sealed.
pub const MAX_OCTETS: usize = 384 << 10;
/// Octets of a field at most where milters are asked: libmilter takes packets of no more than about 64 KiB.
pub const MAX_FIELD: usize = 60_000;
/// Fields at most that milters are shown, one by one.
pub const MAX_FIELDS: usize = 2_000;
/// Octets of a field's name at most.
const MAX_NAME: usize = 100;
/// Octets of a line at most, without its end (RFC 5322 §2.1.1).
const MAX_LINE: usize = 998;

/// A header block in memory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Header {
    fields: Vec<Field>,
    octets: usize,
    changed: bool,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Field {
    raw: Vec<u8>,
    /// Ours: filters are told of the client in other ways, count without it, and would take results in our name for forged.
    is_hidden: bool,
}

impl Field {
    fn is(&self, name: &str) -> bool {
        headers::find(&self.raw, name).is_some()
    }
}

impl Header {
    /// Of a block of fields, in which the first `Received` is ours, and with it all that stands before it.
    pub fn of(block: &[u8]) -> Self {
        let received = headers::fields(block).position(|field| field.is("Received"));
        let ours = received.map_or(0, |last| last + 1);
        let fields = headers::fields(block).enumerate().map(|(place, field)| Field {
            raw: field.raw.to_owned(),
            is_hidden: place < ours,
        });
        let fields: Vec<Field> = fields.collect();
        Self {
            octets: fields.iter().map(|field| field.raw.len()).sum(),
            fields,
            changed: false,
        }
    }

    /// The fields that filters see, in order, raw.
    pub fn visible(&self) -> impl Iterator<Item = &[u8]> {
        let visible = self.fields.iter().filter(|field| !field.is_hidden);
        visible.map(|field| &field.raw[..])
    }

    /// Whether milters can be shown it.
    pub fn fits_milters(&self) -> bool {
        self.visible().count() <= MAX_FIELDS && self.visible().all(|raw| raw.len() <= MAX_FIELD)
    }

    /// Whether anything was changed.
    pub fn is_changed(&self) -> bool {
        self.changed
    }

    /// All fields.
    pub fn octets(&self) -> Vec<u8> {
        let raw = self.fields.iter().flat_map(|field| &field.raw);
        raw.copied().collect()
    }

    /// Makes one change. [`Error::TooMuch`] if the block gets too long.
    pub fn apply(&mut self, change: FieldChange) -> Result<(), Error> {
        match change {
            FieldChange::Add(Place::End, field) => self.insert(self.fields.len(), field),
            FieldChange::Add(Place::At(index), field) => {
                let place = self.place(index);
                self.insert(place, field);
            }
            FieldChange::Replace { name, index, field } => match self.find(&name, i64::from(index.max(1))) {
                Some(place) => {
                    self.remove(place);
                    self.insert(place, field);
                }
                None => self.insert(self.fields.len(), field),
            },
            FieldChange::Remove { name, index: 0 } => {
                let goes = |field: &Field| !field.is_hidden && field.is(&name);
                self.changed |= self.fields.iter().any(goes);
                self.fields.retain(|field| !goes(field));
                self.octets = self.fields.iter().map(|field| field.raw.len()).sum();
            }
            FieldChange::Remove { name, index } => {
                if let Some(place) = self.find(&name, index) {
                    self.remove(place);
                }
            }
        }
        match self.octets > MAX_OCTETS {
            true => Err(Error::TooMuch("the header block")),
            false => Ok(()),
        }
    }

    /// Puts a field above all, in the place of all of its name, ours included. [`Error::TooMuch`] as above.
    pub fn set(&mut self, name: &str, field: Vec<u8>) -> Result<(), Error> {
        self.fields.retain(|field| !field.is(name));
        self.octets = self.fields.iter().map(|field| field.raw.len()).sum();
        self.apply(FieldChange::Add(Place::At(0), field))
    }

    /// Where to insert before visible field `index`.
    fn place(&self, index: u32) -> usize {
        if index <= 1 {
            return 0;
        }
        let mut visible = self
            .fields
            .iter()
            .enumerate()
            .filter(|(_, field)| !field.is_hidden);
        let at = visible.nth(index as usize);
        at.map_or(self.fields.len(), |(place, _)| place)
    }

    fn find(&self, name: &str, index: i64) -> Option<usize> {
        let named = |(_, field): &(usize, &Field)| !field.is_hidden && field.is(name);
        let mut named = self.fields.iter().enumerate().filter(named);
        let nth = usize::try_from(index.unsigned_abs()).ok()?.checked_sub(1)?;
        let found = match index > 0 {
            true => named.nth(nth),
            false => named.nth_back(nth),
        };
        found.map(|(place, _)| place)
    }

    fn insert(&mut self, place: usize, raw: Vec<u8>) {
        self.octets += raw.len();
        self.changed = true;
        let field = Field {
            raw,
            is_hidden: false,
        };
        self.fields.insert(place, field);
    }

    fn remove(&mut self, place: usize) {
        self.octets -= self.fields.remove(place).raw.len();
        self.changed = true;
    }
}

/// A new field, raw, from what a filter says. Folds are line ends, CRLF or LF, before a blank. With `has_space` the value
/// starts with the blank that follows the colon, if there is to be one.
///
/// [`Error::Unfit`] if it would not be one field of readable text in lines of 998 octets, [`Error::TooMuch`] if it has more
/// octets than milters after this one can be shown.
pub fn field(name: &str, value: &str, has_space: bool) -> Result<Vec<u8>, Error> {
    if !is_name(name) {
        return Err(Error::Unfit("the name of a header field"));
    }
    let space = if has_space { "" } else { " " };
    let mut raw = format!("{name}:{space}").into_bytes();
    let value = value.trim_end_matches(['\r', '\n', ' ', '\t']);
    for (number, line) in value.replace("\r\n", "\n").split('\n').enumerate() {
        let continues = line.starts_with([' ', '\t']) && !line.trim().is_empty();
        let is_clean = line.chars().all(|letter| letter == '\t' || !letter.is_control());
        if !is_clean || (number > 0 && !continues) {
            return Err(Error::Unfit("the value of a header field"));
        }
        if number > 0 {
            raw.extend_from_slice(b"\r\n");
        }
        raw.extend_from_slice(line.as_bytes());
    }
    raw.extend_from_slice(b"\r\n");
    check_length(raw)
}

fn check_length(raw: Vec<u8>) -> Result<Vec<u8>, Error> {
    let is_long = |line: &[u8]| line.strip_suffix(b"\r").unwrap_or(line).len() > MAX_LINE;
    if raw.split(|octet| *octet == b'\n').any(is_long) {
        return Err(Error::Unfit("a header field with a line of over 998 octets"));
    }
    match raw.len() > MAX_FIELD {
        true => Err(Error::TooMuch("the length of a header field")),
        false => Ok(raw),
    }
}

/// Whether that is the name of a field (RFC 5322 §2.2).
pub fn is_name(name: &str) -> bool {
    (1..=MAX_NAME).contains(&name.len())
        && name
            .bytes()
            .all(|octet| (33..=126).contains(&octet) && octet != b':')
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    const BLOCK: &str = "A-R: x\r\nReceived: ours\r\nReceived: theirs\r\nX: 1\r\nx: 2\r\n";

    fn changed(changes: &[FieldChange]) -> String {
        let mut header = Header::of(BLOCK.as_bytes());
        for change in changes {
            header.apply(change.clone()).unwrap();
        }
        String::from_utf8(header.octets()).unwrap()
    }

    fn raw(text: &str) -> Vec<u8> {
        format!("{text}\r\n").into_bytes()
    }

    fn remove(name: &str, index: i64) -> FieldChange {
        FieldChange::Remove {
            name: name.into(),
            index,
        }
    }

    fn replace(name: &str, index: u32) -> FieldChange {
        FieldChange::Replace {
            name: name.into(),
            index,
            field: raw("N: n"),
        }
    }

    #[test]
    fn fields_are_added_in_their_place_and_ours_is_not_counted() {
        let add = |place| changed(&[FieldChange::Add(place, raw("N: n"))]);
        assert_eq!(add(Place::At(0)), format!("N: n\r\n{BLOCK}"));
        assert_eq!(add(Place::At(1)), format!("N: n\r\n{BLOCK}"));
        assert_eq!(add(Place::At(2)), BLOCK.replace("x: 2", "N: n\r\nx: 2"));
        assert_eq!(add(Place::At(9)), format!("{BLOCK}N: n\r\n"));
        assert_eq!(add(Place::End), format!("{BLOCK}N: n\r\n"));
    }

    #[test]
    fn fields_are_found_by_name_and_number() {
        assert_eq!(changed(&[remove("x", 1)]), BLOCK.replace("X: 1\r\n", ""));
        assert_eq!(changed(&[remove("X", -1)]), BLOCK.replace("x: 2\r\n", ""));
        assert_eq!(changed(&[remove("X", 3)]), BLOCK);
        assert_eq!(changed(&[remove("X", 0)]), BLOCK.replace("X: 1\r\nx: 2\r\n", ""));
        assert_eq!(
            changed(&[remove("received", 1)]),
            BLOCK.replace("Received: theirs\r\n", "")
        );
        assert_eq!(changed(&[replace("X", 2)]), BLOCK.replace("x: 2", "N: n"));
        assert_eq!(changed(&[replace("X", 0)]), BLOCK.replace("X: 1", "N: n"));
        assert_eq!(changed(&[replace("Y", 1)]), format!("{BLOCK}N: n\r\n"));
        assert!(!Header::of(BLOCK.as_bytes()).is_changed());
    }

    #[test]
    fn what_stands_up_to_our_received_is_hidden() {
        let visible = |block: &str| {
            let header = Header::of(block.as_bytes());
            header.visible().flatten().copied().collect::<Vec<u8>>()
        };
        assert_eq!(visible(BLOCK), b"Received: theirs\r\nX: 1\r\nx: 2\r\n");
        assert_eq!(visible("X: 1\r\nY: 2\r\n"), b"X: 1\r\nY: 2\r\n");
        // Neither can be changed, and what a filter adds above is seen.
        assert_eq!(changed(&[remove("A-R", 0)]), BLOCK);
        let mut header = Header::of(BLOCK.as_bytes());
        header.apply(FieldChange::Add(Place::At(0), raw("N: n"))).unwrap();
        assert_eq!(header.visible().next(), Some(&b"N: n\r\n"[..]));
    }

    #[test]
    fn what_is_set_replaces_ours_and_theirs() {
        let mut header = Header::of(b"X: ours\r\nReceived: ours\r\nx: theirs\r\n");
        header.set("X", raw("X: new")).unwrap();
        assert_eq!(header.octets(), b"X: new\r\nReceived: ours\r\n");
        assert!(header.is_changed());
    }

    #[test]
    fn milters_are_shown_what_fits() {
        let fits = |block: String| Header::of(block.as_bytes()).fits_milters();
        let long = |octets: usize| format!("X:{}\r\n", "x".repeat(octets - 4));
        assert!(fits(long(MAX_FIELD)));
        assert!(!fits(long(MAX_FIELD + 1)));
        // Ours are not counted.
        assert!(fits(format!(
            "Received: ours\r\n{}",
            "X: 1\r\n".repeat(MAX_FIELDS)
        )));
        assert!(!fits("X: 1\r\n".repeat(MAX_FIELDS + 1)));
    }

    #[test]
    fn a_header_does_not_grow_without_end() {
        let mut header = Header::of(BLOCK.as_bytes());
        let large = FieldChange::Add(Place::End, vec![b'x'; MAX_OCTETS]);
        assert!(matches!(header.apply(large), Err(Error::TooMuch(_))));
    }

    #[test]
    fn a_field_is_one_field() {
        let made = |value| String::from_utf8(field("X-Spam", value, false).unwrap()).unwrap();
        assert_eq!(made("Yes"), "X-Spam: Yes\r\n");
        assert_eq!(made("a\n\tb\r\n c\r\n"), "X-Spam: a\r\n\tb\r\n c\r\n");
        assert_eq!(field("X", " y", true).unwrap(), b"X: y\r\n");
        assert_eq!(field("X", "", false).unwrap(), b"X: \r\n");
        let line = "x".repeat(MAX_LINE - 3);
        assert!(field("X", &line, false).is_ok());
        assert!(field("X", &format!("a\n {line}xx\n b"), false).is_ok());
        let folds = format!("\n {line}").repeat(MAX_FIELD / MAX_LINE + 1);
        assert!(matches!(field("X", &folds[1..], true), Err(Error::TooMuch(_))));
        for value in [
            &format!("{line}x")[..],
            &format!("a\n {line}xxx\n b"),
            "a\nB: c",
            "a\r\nB: c",
            "a\rb",
            "a\n\nb",
            "a\n \nb",
            "a\0",
            "a\r\n\r\n b",
            "a\u{7f}",
        ] {
            assert!(
                matches!(field("X", value, false), Err(Error::Unfit(_))),
                "{value:?}"
            );
        }
        for name in ["", "a b", "a:", "a\r\n", "\u{e9}", &"x".repeat(101)] {
            assert!(field(name, "x", false).is_err(), "{name:?}");
        }
    }
}
